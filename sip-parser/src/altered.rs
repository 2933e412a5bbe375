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

/// The same where there is a short way for texts that stand in messages, too. `is_simple`: that reads the first, where it
/// stands at the beginning of the second, and the long way alike; that has to be so of many, too.
pub fn each_in_messages(
    forms: &[&str],
    mut is_simple: impl FnMut(&[u8], &[u8]) -> bool,
    mut is_usual: impl FnMut(&[u8]) -> bool,
) {
    let mut simple = 0;
    each(forms, |text| {
        for whole in followed(text) {
            simple += usize::from(is_simple(text, &whole));
        }
        is_usual(text)
    });
    assert!(simple > 1000, "{simple}");
}

/// The text where it stands in messages: with its line end behind it, and where it is cut out of more.
fn followed(text: &[u8]) -> [Vec<u8>; 4] {
    ["\r\n", ";user=phone", ">;tag=1", "abcdefghijklmnopqrstuvwxyz0123456789"]
        .map(|behind| [text, behind.as_bytes(), &[b'x'; 150]].concat())
}
