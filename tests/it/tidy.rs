//! Rules of the source that the compiler does not know.

use std::path::{Path, PathBuf};

/// The layers, lowest first: a module imports from its own line or from those above it here.
const LAYERS: [&[&str]; 8] = [
    &["limits", "config", "clock", "error", "metrics", "types", "bytes", "process", "log_limit"],
    &["storage", "codec"],
    &["log", "group"],
    &["broker"],
    &["api", "plan"],
    &["report"],
    &["net", "client"],
    &["cli"],
];

/// What may stand in which files only, as beginnings of their paths under `src/`.
const CONFINED: [(&str, &[&str]); 6] = [
    // One seam to the disk; the command line and the status socket have files of their own.
    ("std::fs", &["storage", "cli/", "net/status.rs", "net/start.rs", "process.rs"]),
    // The core is handed the time.
    ("Instant::now", &["clock.rs"]),
    ("SystemTime::now", &["clock.rs"]),
    // The core is synchronous.
    (".await", &["net/"]),
    // Everything for people goes through the log or the command line.
    ("println!", &["cli/"]),
    ("todo!(", &[]),
];

/// A source file without its tests.
struct Source {
    /// Under `src/`.
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// Lines of code, with their numbers; comments are prose.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().enumerate();
        let lines = lines.map(|(at, line)| (at + 1, line.as_str()));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = layer_of(source.module()) else {
            continue;
        };
        for (at, line) in source.code() {
            for path in line.split("crate::").skip(1) {
                let module = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                if layer_of(module).is_some_and(|layer| layer > own) {
                    wrong.push(format!("src/{}:{at}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point up:\n{}", wrong.join("\n"));
}

#[test]
fn what_belongs_to_one_place_is_there_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (text, places) in CONFINED {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            let found = source.code().filter(|(_, line)| line.contains(text));
            wrong.extend(found.map(|(at, line)| format!("src/{}:{at}: {line}", source.path)));
        }
    }
    assert!(wrong.is_empty(), "in the wrong file:\n{}", wrong.join("\n"));
}

#[test]
fn the_library_forbids_unsafe_code_and_every_file_says_what_it_is() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for source in sources() {
        let first = source.lines.first().map(String::as_str).unwrap_or_default();
        assert!(first.starts_with("//! "), "src/{} opens without a word about it", source.path);
    }
}

#[test]
fn the_readme_is_short_and_names_only_files_that_are_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150);
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
        assert!(root().join(link).exists(), "README.md links to {link}");
    }
    for row in readme.lines().filter(|line| line.starts_with("| `")) {
        let name = row.trim_start_matches("| `").split('`').next().unwrap();
        let is_path = name.ends_with('/') || name.ends_with(".md");
        assert!(!is_path || root().join(name).exists(), "README.md names {name}");
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let src = root().join("src");
    visit(&src, &mut |path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_string();
        let is_test = ["tests.rs", "testing.rs", "sim.rs"].iter().any(|end| name.ends_with(end));
        if name.ends_with(".rs") && !is_test && !name.contains("/tests/") {
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().take_while(|line| *line != "mod tests {");
            found.push(Source { path: name, lines: lines.map(str::to_string).collect() });
        }
    });
    assert!(found.len() > 30, "the sources are elsewhere");
    found
}

fn visit(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { visit(&path, each) } else { each(&path) }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
