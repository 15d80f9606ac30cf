//! The wire oracle: every key × version × {empty, typical, maximal, nulls}.
//!
//! Kafka's schemas say what a message looks like; [`generate`] makes bytes of it. An independent
//! codec (the crate `kafka-protocol`) reads and writes them again, unchanged, which proves the
//! bytes. Then our decode must show the same values as the oracle's, and our encode, given the
//! oracle's values, the same bytes. [`tables`] compares our tables with the schemas line by line.

#[cfg(feature = "client-commands")]
mod client;
mod envelope;
mod fuzz;
mod generate;
pub mod lengths;
mod normal;
mod row;
mod rows;
pub mod schema;
mod tables;

use generate::{VARIANTS, Variant, generate};
use schema::Side;

#[test]
fn everything_that_is_served_is_proved_here() {
    for api in brooklet::api::APIS {
        let row = rows::all().into_iter().find(|row| row.key == api.key);
        let row = row.unwrap_or_else(|| panic!("{} has no row", api.name));
        assert_eq!((row.name, row.flexible_since), (api.name, api.flexible_since));
        assert!(row.versions.contains(&api.min) && row.versions.contains(&api.max), "{}", api.name);
    }
}

#[test]
fn every_request_decodes_to_the_oracles_values() {
    for row in rows::all() {
        let schema = schema::load(row.name, Side::Request);
        for version in row.versions.clone() {
            for variant in VARIANTS {
                let what = format!("{} request {version} {variant:?}", row.name);
                let bytes = generate(&schema, version, variant);
                let (theirs, again) = (row.request_theirs)(&bytes, version);
                assert_eq!(again, bytes, "{what}: the oracle disagrees with the schema");
                let ours = (row.request_ours)(&bytes, version);
                let ours = ours.unwrap_or_else(|error| panic!("{what}: {error}"));
                normal::assert_same(&ours, &theirs, &what);
            }
        }
    }
}

#[test]
fn every_response_encodes_to_the_oracles_bytes() {
    for row in rows::all() {
        let schema = schema::load(row.name, Side::Response);
        for version in row.versions.clone() {
            for variant in VARIANTS {
                let what = format!("{} response {version} {variant:?}", row.name);
                let bytes = generate(&schema, version, variant);
                let row::Encodings { theirs, ours } = (row.response)(&bytes, version);
                assert_eq!(theirs, bytes, "{what}: the oracle disagrees with the schema");
                assert_eq!(ours, bytes, "{what}");
            }
        }
    }
}

#[test]
fn every_truncation_and_every_trailing_byte_is_an_error() {
    for row in rows::all() {
        let schema = schema::load(row.name, Side::Request);
        for version in row.versions.clone() {
            for variant in [Variant::Empty, Variant::Typical, Variant::Nulls] {
                let bytes = generate(&schema, version, variant);
                for end in 0..bytes.len() {
                    let ours = (row.request_ours)(&bytes[..end], version);
                    assert!(ours.is_err(), "{} {version} cut at {end}", row.name);
                }
                let trailing = [&bytes[..], &[0]].concat();
                let ours = (row.request_ours)(&trailing, version);
                assert!(ours.is_err(), "{} {version} with a trailing byte", row.name);
            }
        }
    }
}
