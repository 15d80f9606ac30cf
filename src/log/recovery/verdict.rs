//! What becomes of a group that a start finds: the decision table.
//!
//! A group is *proven* once a later one says that it was on flash (`synced_through`), or once its
//! segment was closed. A proven group that is broken is damage: what is readable of it is kept. A
//! broken group that is not proven is a torn write: it and what follows are dropped. A whole one that
//! is not proven is part of the log once its file is synced.

/// What else on flash says about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A later group, or the segment's end, says that it was on flash.
    Acknowledged,
    /// A later boot declared it void, and copied what it could read of it. No longer written.
    Superseded,
    /// Nothing was written behind it.
    None,
}

/// What is found where a group should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Its header is valid.
    pub header: bool,
    /// The CRC of its directory holds.
    pub directory: bool,
    /// The CRC of its metadata records holds.
    pub metadata: bool,
    /// The CRCs of all its batches hold.
    pub payload: bool,
    /// What else is known.
    pub proof: Proof,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the log.
    Accept,
    /// It is whole, and part of the log once its file is synced, before anything is served.
    SyncAndAccept,
    /// Damage: batches and metadata whose CRCs hold are part of the log, the rest is logged and counted.
    KeepGood,
    /// Damage: which batches it held cannot be told. Its offsets are not given again.
    Lost,
    /// A torn write: it is dropped, but its offsets are not given again.
    DropWithGap,
    /// A torn write without a readable directory.
    Drop,
    /// It is void.
    Skip,
}

struct Row {
    header: Option<bool>,
    directory: Option<bool>,
    metadata: Option<bool>,
    payload: Option<bool>,
    proof: Proof,
    verdict: Verdict,
}

/// Each input matches exactly one row. `None` matches both.
#[rustfmt::skip]
const TABLE: [Row; 11] = [
    row(None,        None,        None,        None,        Proof::Superseded,   Verdict::Skip),
    row(Some(true),  Some(true),  Some(true),  Some(true),  Proof::Acknowledged, Verdict::Accept),
    row(Some(true),  Some(true),  Some(true),  Some(false), Proof::Acknowledged, Verdict::KeepGood),
    row(Some(true),  Some(true),  Some(false), None,        Proof::Acknowledged, Verdict::KeepGood),
    row(Some(true),  Some(false), None,        None,        Proof::Acknowledged, Verdict::Lost),
    row(Some(false), None,        None,        None,        Proof::Acknowledged, Verdict::Lost),
    row(Some(true),  Some(true),  Some(true),  Some(true),  Proof::None, Verdict::SyncAndAccept),
    row(Some(true),  Some(true),  Some(true),  Some(false), Proof::None, Verdict::DropWithGap),
    row(Some(true),  Some(true),  Some(false), None,        Proof::None, Verdict::DropWithGap),
    row(Some(true),  Some(false), None,        None,        Proof::None, Verdict::Drop),
    row(Some(false), None,        None,        None,        Proof::None, Verdict::Drop),
];

const fn row(
    header: Option<bool>,
    directory: Option<bool>,
    metadata: Option<bool>,
    payload: Option<bool>,
    proof: Proof,
    verdict: Verdict,
) -> Row {
    Row { header, directory, metadata, payload, proof, verdict }
}

impl Row {
    fn matches(&self, finding: &Finding) -> bool {
        let fits = |wanted: Option<bool>, is| wanted.is_none_or(|wanted| wanted == is);
        fits(self.header, finding.header)
            && fits(self.directory, finding.directory)
            && fits(self.metadata, finding.metadata)
            && fits(self.payload, finding.payload)
            && self.proof == finding.proof
    }
}

/// What becomes of what was found.
pub fn verdict(finding: &Finding) -> Verdict {
    let row = TABLE.iter().find(|row| row.matches(finding));
    row.expect("the table has a row for each input").verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_of_the_decision_table_matches_exactly_one_row() {
        for input in 0..16 {
            for proof in [Proof::Acknowledged, Proof::Superseded, Proof::None] {
                let [header, directory, metadata, payload] =
                    [0, 1, 2, 3].map(|bit| input >> bit & 1 == 1);
                let finding = Finding { header, directory, metadata, payload, proof };
                let rows = TABLE.iter().filter(|row| row.matches(&finding)).count();
                assert_eq!(rows, 1, "{finding:?}");
                check(&finding, verdict(&finding));
            }
        }
    }

    /// What must hold of any table: nothing acknowledged is dropped, nothing unproven is accepted
    /// before it is synced, nothing broken is taken for whole, and what a later boot replaced stays
    /// replaced.
    fn check(finding: &Finding, verdict: Verdict) {
        use Verdict::*;
        let named = finding.header && finding.directory;
        let whole = named && finding.metadata && finding.payload;
        match finding.proof {
            Proof::Superseded => assert_eq!(verdict, Skip),
            Proof::Acknowledged => {
                assert!(matches!(verdict, Accept | KeepGood | Lost), "{finding:?}");
                assert_eq!(verdict == Accept, whole, "{finding:?}");
                assert_eq!(verdict == Lost, !named, "{finding:?}");
            }
            Proof::None => {
                assert!(matches!(verdict, SyncAndAccept | DropWithGap | Drop), "{finding:?}");
                assert_eq!(verdict == SyncAndAccept, whole, "{finding:?}");
                assert_eq!(verdict == DropWithGap, named && !whole, "{finding:?}");
            }
        }
    }
}
