//! Texts with one byte altered, to hold a short way of reading against the long one.

/// Each form with each byte at each place, whole and cut before that place. `is_usual`: the short way reads it, and the long
/// way alike; that has to be so of many.
pub fn each(forms: &[&str], mut is_usual: impl FnMut(&[u8]) -> bool) {
    let mut usual = 0;
    for form in forms {
        for (at, c) in (0..form.len()).flat_map(|at| (0..=u8::MAX).map(move |c| (at, c))) {
            let mut text = form.as_bytes().to_vec();
            text[at] = c;
            for len in [text.len(), at] {
                usual += usize::from(is_usual(&text[..len]));
            }
        }
    }
    assert!(usual > 1000, "{usual}");
}

/// The text where it stands in messages: with its line end behind it, and where it is cut out of more.
pub fn followed(text: &[u8]) -> [Vec<u8>; 4] {
    ["\r\n", ";user=phone", ">;tag=1", "abcdefghijklmnopqrstuvwxyz0123456789"]
        .map(|behind| [text, behind.as_bytes(), &[b'x'; 150]].concat())
}
