//! Globs over topic names: `*` stands for any text, `?` for one character.

/// Whether all of `name` is what `glob` describes. Time is at most the product of the lengths.
pub fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    // The last star seen, and how far into the name it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    g = at + 1;
                    n = reach + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

/// Whether `glob` matches everything that `other` matches. It may say no where it does, as it compares the
/// letters alone.
pub fn covers(glob: &str, other: &str) -> bool {
    // The other's star can be any text, which only a star matches. Its question mark can be any character:
    // it is replaced by one that no name has.
    let other = other.replace('?', "\u{1}");
    !glob.contains('?') && matches(glob, &other)
        || glob.contains('?') && !other.contains('*') && matches(glob, &other)
}

/// Whether there is a name that both match. Time is the product of the lengths.
pub fn meet(glob: &str, other: &str) -> bool {
    let (glob, other) = (glob.as_bytes(), other.as_bytes());
    // By a place in `other`: whether what follows there meets what follows a place in `glob`, which moves
    // from its end to its beginning.
    let mut rest = vec![false; other.len() + 1];
    for letter in std::iter::once(None).chain(glob.iter().rev().map(Some)) {
        let shorter = rest.clone();
        for at in (0..rest.len()).rev() {
            let longer = rest.get(at + 1).is_some_and(|rest| *rest);
            rest[at] = match (letter, other.get(at)) {
                (Some(b'*'), _) => shorter[at] || longer,
                (_, Some(b'*')) => longer || letter.is_some() && shorter[at],
                (Some(one), Some(two)) => {
                    (one == two || *one == b'?' || *two == b'?') && shorter[at + 1]
                }
                (one, two) => one.is_none() && two.is_none(),
            };
        }
    }
    rest[0]
}

#[cfg(test)]
mod tests {
    use super::{covers, matches, meet};

    #[test]
    fn two_globs_meet_where_a_name_matches_both() {
        for (one, other) in [
            ("*", "alarms"),
            ("alarm*", "*.fire"),
            ("a?c", "ab*"),
            ("a*b*c", "a*c"),
            ("t?p", "?a?"),
            ("**", "x*"),
            ("tap", "tap"),
            ("a*", "?"),
        ] {
            assert!(meet(one, other) && meet(other, one), "{one} {other}");
        }
        for (one, other) in
            [("alarm*", "sensor*"), ("a?c", "abbc"), ("*x", "*y"), ("tap", "ta"), ("?", "ab*")]
        {
            assert!(!meet(one, other) && !meet(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_glob_covers_another_whose_names_it_takes() {
        for (glob, other) in [
            ("*", "alarms"),
            ("*", "*"),
            ("alarm*", "alarms.*"),
            ("a*b", "a*xb"),
            ("a*", "a?c"),
            ("t?p", "tap"),
            ("t?p", "t?p"),
        ] {
            assert!(covers(glob, other), "{glob} {other}");
        }
        for (glob, other) in [
            ("alarm*", "*"),
            ("alarms", "alarm*"),
            ("?", "*"),
            ("t?p", "t*p"),
            ("tap", "t?p"),
            ("a*b", "a*"),
        ] {
            assert!(!covers(glob, other), "{glob} {other}");
        }
    }

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, name) in [
            ("*", ""),
            ("*", "anything"),
            ("alarm*", "alarm"),
            ("alarm*", "alarms.fire"),
            ("*.fire", "alarms.fire"),
            ("a*b*c", "aXbXbc"),
            ("t?p", "tap"),
            ("**", "x"),
        ] {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in
            [("", "x"), ("alarm", "alarms"), ("?", ""), ("a*b", "abc"), ("t?p", "tp")]
        {
            assert!(!matches(glob, name), "{glob} {name}");
        }
    }
}
