//! The tables of ARCHITECTURE.md say what the code does.

use brooklet::api::APIS;
use brooklet::broker::topic_config::KEYS;

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
    assert_table("## The keys", &expected);
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
    assert_table("## Topic settings", &expected);
}

/// The first table of the section is this one; else says what to put there.
fn assert_table(section: &str, expected: &[String]) {
    let text = std::fs::read_to_string("ARCHITECTURE.md").unwrap();
    let (_, rest) = text.split_once(&format!("{section}\n")).unwrap_or_else(|| {
        panic!("ARCHITECTURE.md has no section {section}");
    });
    let lines = rest.lines().skip_while(|line| !line.starts_with('|'));
    let table: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    let wanted = expected.join("\n");
    assert!(table == expected, "the table below {section} should be:\n{wanted}");
}
