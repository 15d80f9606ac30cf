//! Sets of small numbers, of a fixed size: one bit for each place in a table.

/// The bytes of a set of so many places.
pub fn bytes(places: usize) -> usize {
    places.div_ceil(8)
}

/// Whether a place is in the set.
pub fn has(set: &[u8], place: u16) -> bool {
    set.get(usize::from(place / 8)).is_some_and(|byte| byte & mask(place) != 0)
}

/// Puts a place into the set.
pub fn insert(set: &mut [u8], place: u16) {
    set[usize::from(place / 8)] |= mask(place);
}

/// Takes a place out of the set; whether it was in it.
pub fn remove(set: &mut [u8], place: u16) -> bool {
    let was = has(set, place);
    set[usize::from(place / 8)] &= !mask(place);
    was
}

fn mask(place: u16) -> u8 {
    1 << (place % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_the_set_until_it_is_taken_out() {
        assert_eq!((bytes(0), bytes(8), bytes(9)), (0, 1, 2));
        let mut set = [0; 2];
        insert(&mut set, 8);
        insert(&mut set, 0);
        assert_eq!(set, [1, 1]);
        assert!(has(&set, 8) && !has(&set, 9) && !has(&set, 16));
        assert!(remove(&mut set, 8) && !remove(&mut set, 8));
        assert_eq!(set, [1, 0]);
    }
}
