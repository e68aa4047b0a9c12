//! The words of an SQL text.

/// Names (`orders`, `o.id`), parameters, operators (`<=`) and single signs, in
/// order; each text in quotes is one word.
pub fn words(sql: &str) -> Vec<&str> {
    let mut rest = sql.trim_start();
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        let operator = |c: char| "<>=!|:".contains(c);
        let of_name = |c: char| c.is_alphanumeric() || "_.$".contains(c);
        let length = match first {
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            c if of_name(c) => rest.find(|c| !of_name(c)).unwrap_or(rest.len()),
            c if operator(c) => rest.find(|c| !operator(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after.trim_start();
    }
    words
}
