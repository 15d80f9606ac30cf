//! The tables of ARCHITECTURE.md say what the code does, and README's examples and figures hold.

use brooklet::api::APIS;
use brooklet::broker::topic_config::KEYS;
use brooklet::config::Config;
use brooklet::config::source::{Sources, load};
use brooklet::log::format::VERSION;
use brooklet::plan::{Mib, Plan};
use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;

use crate::process::Process;

#[test]
fn the_documented_keys_are_those_that_are_served() {
    let mut expected = vec![
        "| key | API | versions | flexible since |".to_string(),
        "| --- | --- | --- | --- |".to_string(),
    ];
    for api in APIS {
        let versions = if api.min == api.max {
            api.min.to_string()
        } else {
            format!("{}–{}", api.min, api.max)
        };
        let advertised = if api.min_advertised < api.min {
            format!(", advertised from {}", api.min_advertised)
        } else {
            String::new()
        };
        let flexible = match api.flexible_since {
            i16::MAX => "never".to_string(),
            since => since.to_string(),
        };
        let (key, name) = (api.key, api.name);
        expected.push(format!("| {key} | {name} | {versions}{advertised} | {flexible} |"));
    }
    assert_table("ARCHITECTURE.md", "## The keys", &expected);
}

#[test]
fn the_documented_topic_settings_are_those_that_are_known() {
    let mut expected = vec![
        "| setting | default | what it does here |".to_string(),
        "| --- | --- | --- |".to_string(),
    ];
    for key in KEYS {
        let default = match key.usual_value() {
            "" => "empty",
            value => value,
        };
        let name = if key.effective { format!("**{}**", key.name) } else { key.name.to_string() };
        let what = key.documentation.replace('|', "\\|");
        expected.push(format!("| {name} | {default} | {what} |"));
    }
    assert_table("ARCHITECTURE.md", "## Topic settings", &expected);
}

#[test]
fn every_configuration_in_the_readme_is_accepted_as_it_stands() {
    let blocks = readme_blocks("toml");
    assert!(!blocks.is_empty(), "README.md shows a configuration");
    for block in blocks {
        let config = config_of(Some(&block), &[]);
        assert_eq!(Plan::of(&config).check(&config), Ok(()), "{block}");
    }
    // Its commands' settings are keys, but for the one that shows what a mistake looks like.
    let readme = std::fs::read_to_string("README.md").unwrap();
    let settings = readme.split("--set ").skip(1).map(|rest| rest.split(['`', ' ', '\n']).next());
    let settings = settings.map(|setting| setting.unwrap().to_string());
    for setting in settings.filter(|setting| setting.contains('=') && setting != "key=value") {
        let sources = Sources { sets: std::slice::from_ref(&setting), ..Sources::default() };
        match load(sources) {
            Ok(_) => {}
            Err(refusal) => assert!(readme.contains(&refusal.to_string()), "{refusal}"),
        }
    }
}

#[test]
fn the_readmes_rings_start_and_take_records() {
    let file = std::env::temp_dir().join(format!("brooklet-readme-{}.toml", std::process::id()));
    std::fs::write(&file, readme_blocks("toml").remove(0)).unwrap();
    let config = format!("config:{}", file.display());
    // Smaller segments only: to fill those in the example takes a while.
    let small = ["ring.alarms.segment_bytes=4MiB", "ring.telemetry.segment_bytes=4MiB"];
    let broker = Process::start_with("readme", &[&config, small[0], small[1]]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = ClientBuilder::new(vec![broker.bootstrap()]).build().await.unwrap();
        for topic in ["alarms", "temperature"] {
            let controller = client.controller_client().unwrap();
            controller.create_topic(topic, 1, 1, 5000).await.unwrap();
            let partition = client.partition_client(topic, 0, UnknownTopicHandling::Retry);
            let record = Record {
                key: None,
                value: Some(b"v".to_vec()),
                headers: Default::default(),
                timestamp: Utc.timestamp_millis_opt(1_700_000_000_000).unwrap(),
            };
            let partition = partition.await.unwrap();
            let placed = partition.produce(vec![record], Compression::NoCompression).await;
            assert_eq!(placed.unwrap(), [0], "{topic}");
        }
    });
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn the_plans_in_the_readme_are_those_that_are_made() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let rings = readme_blocks("toml").remove(0);
    let large = config_of(None, &["ring.segments=32", "ring.segment_bytes=512MiB"]);
    let large_bytes = u64::from(large.rings[0].segments) * large.rings[0].segment_bytes;
    let plans = [
        ("by default", config_of(None, &[])),
        ("with `max_connections=1000`", config_of(None, &["max_connections=1000"])),
        ("with the two rings above", config_of(Some(&rings), &[])),
        ("with a ring of 16 GiB (`ring.segments=32`, `ring.segment_bytes=512MiB`)", large),
    ];
    for (what, config) in plans {
        let figure = format!("{} {what}", Mib(Plan::of(&config).memory_bytes()));
        assert!(readme.contains(&figure), "README.md should say: {figure}");
    }
    assert_eq!(large_bytes, 16 << 30);
}

fn config_of(file: Option<&str>, sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let file = file.map(|text| ("README.md", text));
    load(Sources { file, sets: &sets, ..Sources::default() }).unwrap().config
}

/// The blocks of README.md in this language.
fn readme_blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let begins = format!("```{language}\n");
    let blocks = readme.split(&begins).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_string).collect()
}

/// The first table of the section is this one; else says what to put there.
pub fn assert_table(file: &str, section: &str, expected: &[String]) {
    let text = std::fs::read_to_string(file).unwrap();
    let (_, rest) = text.split_once(&format!("\n{section}\n")).unwrap_or_else(|| {
        panic!("{file} has no section {section}");
    });
    let lines = rest.lines().skip_while(|line| !line.starts_with('|'));
    let table: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    let wanted = expected.join("\n");
    assert!(table == expected, "the table below {section} should be:\n{wanted}");
}

#[test]
fn the_documented_format_is_the_one_that_is_written() {
    let words = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let format = words("FORMAT.md");
    for said in [
        format!("# The format on flash, version {VERSION} "),
        format!("are ignored by a reader of version {VERSION}."),
        format!("| 8 | `u32` | version | {VERSION} |"),
        format!("has the magic and a version above {VERSION}, stop:"),
        format!("Versions 1 to {VERSION} are read."),
        format!(" Version {VERSION} added "),
    ] {
        assert!(format.contains(&said), "FORMAT.md should say: {said}");
    }
    assert!(!format.contains(&format!("Version {} added ", VERSION + 1)));
    assert!(!format.contains(&format!("*Since {}:*", VERSION + 1)));
    let reader = words("tests/format/ring_reader.py");
    assert!(reader.contains(&format!(" VERSION = {VERSION} ")), "ring_reader.py reads another one");
    let golden = format!("tests/format/golden/v{VERSION}.ring");
    assert!(
        std::path::Path::new(&golden).is_file(),
        "{golden}: tests/format/run --golden makes it"
    );
}
