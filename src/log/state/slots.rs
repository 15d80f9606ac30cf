//! A table whose entries keep their places for as long as they are there.

/// The table. Its places are allocated at once, but touched only as they come into use.
pub(super) struct Slots<T> {
    places: Vec<Option<T>>,
    max: usize,
    /// No place before it is free, so that filling the table looks at each place once.
    taken_to: usize,
}

impl<T> Slots<T> {
    /// An empty one with at most `max` entries; allocates all it will ever need.
    pub fn new(max: usize) -> Slots<T> {
        Slots { places: Vec::with_capacity(max), max, taken_to: 0 }
    }

    /// The entry at a place.
    pub fn get(&self, place: u16) -> Option<&T> {
        #[cfg(test)]
        crate::visits::visit();
        self.places.get(usize::from(place))?.as_ref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, place: u16) -> Option<&mut T> {
        #[cfg(test)]
        crate::visits::visit();
        self.places.get_mut(usize::from(place))?.as_mut()
    }

    /// All entries, in order of place.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, entry)| Some((place as u16, entry.as_ref()?)))
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut T)> {
        let places = self.places.iter_mut().enumerate();
        places.filter_map(|(place, entry)| Some((place as u16, entry.as_mut()?)))
    }

    /// Puts an entry at the first free place; none: the table is full.
    pub fn add(&mut self, entry: T) -> Option<u16> {
        while let Some(Some(_)) = self.places.get(self.taken_to) {
            #[cfg(test)]
            crate::visits::visit();
            self.taken_to += 1;
        }
        let place = self.taken_to;
        match self.places.get_mut(place) {
            Some(free) => *free = Some(entry),
            None if place < self.max => self.places.push(Some(entry)),
            None => return None,
        }
        Some(place as u16)
    }

    /// Takes an entry out: its place is free.
    pub fn remove(&mut self, place: u16) -> Option<T> {
        let entry = self.places.get_mut(usize::from(place))?.take();
        self.taken_to = self.taken_to.min(usize::from(place));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_place_is_taken_until_all_are() {
        let mut slots = Slots::new(3);
        let add = |slots: &mut Slots<char>| slots.add('x');
        assert_eq!([(); 4].map(|()| add(&mut slots)), [Some(0), Some(1), Some(2), None]);
        assert_eq!(
            (slots.remove(2), slots.remove(0), slots.remove(0)),
            (Some('x'), Some('x'), None)
        );
        assert_eq!(slots.iter().map(|(place, _)| place).collect::<Vec<_>>(), [1]);
        assert_eq!([(); 3].map(|()| add(&mut slots)), [Some(0), Some(2), None]);
    }
}
