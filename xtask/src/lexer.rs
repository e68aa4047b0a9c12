//! As much of Rust's lexical grammar as it takes to find calls with texts in
//! them: comments, texts of every kind, names and signs.

/// A word of the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// A name or a keyword.
    Name(String),
    /// A text, as the program sees it.
    Text(String),
    /// One sign.
    Sign(char),
    /// A number, a character, bytes: nothing that is looked for.
    Else,
}

/// A word and the line it begins on, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub word: Word,
    pub line: usize,
}

/// The words of a source file, comments left out.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1 };
    let mut found = Vec::new();
    while let Some((line, word)) = lexer.next() {
        found.extend(word.map(|word| Token { word, line }));
    }
    found
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl Lexer<'_> {
    /// The next word with its line; nothing in its place for space and comments.
    fn next(&mut self) -> Option<(usize, Option<Word>)> {
        let line = self.line;
        let first = self.rest.chars().next()?;
        let word = if first.is_whitespace() {
            self.take(first.len_utf8());
            None
        } else if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            None
        } else if self.rest.starts_with("/*") {
            self.take(block_comment(self.rest));
            None
        } else if let Some((length, word)) = prefixed(self.rest) {
            self.take(length);
            Some(word)
        } else if first == '"' {
            let (length, text) = text(self.rest);
            self.take(length);
            Some(Word::Text(text))
        } else if first == '\'' {
            self.take(quote(self.rest));
            Some(Word::Else)
        } else if first == '_' || first.is_alphabetic() {
            let name = &self.rest[..name_length(self.rest)];
            let name = name.to_owned();
            self.take(name.len());
            Some(Word::Name(name))
        } else if first.is_ascii_digit() {
            self.take(name_length(self.rest));
            Some(Word::Else)
        } else {
            self.take(first.len_utf8());
            Some(Word::Sign(first))
        };
        Some((line, word))
    }

    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }
}

fn name_length(source: &str) -> usize {
    source.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(source.len())
}

/// Block comments nest.
fn block_comment(source: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < source.len() {
        if source[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if source[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += source[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Texts with letters before the quote: raw, of bytes, for C; and raw names.
fn prefixed(source: &str) -> Option<(usize, Word)> {
    let letters = ["br", "cr", "r", "b", "c"].into_iter().find(|letters| {
        let rest = source.strip_prefix(letters).unwrap_or("");
        rest.starts_with(['"', '#']) || (*letters == "b" && rest.starts_with('\''))
    })?;
    let rest = &source[letters.len()..];
    if letters == "b" && rest.starts_with('\'') {
        return Some((1 + quote(rest), Word::Else));
    }
    let of_text = |text: String| {
        if letters == "r" { Word::Text(text) } else { Word::Else }
    };
    if !letters.contains('r') {
        return rest.starts_with('"').then(|| (letters.len() + text(rest).0, Word::Else));
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let Some(body) = rest[hashes..].strip_prefix('"') else {
        // r#type is a name.
        let name = &rest[hashes..][..name_length(&rest[hashes..])];
        return (letters == "r" && hashes == 1).then(|| (2 + name.len(), Word::Name(name.to_owned())));
    };
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).unwrap_or(body.len());
    let length = letters.len() + hashes + 1 + end + close.len();
    Some((length.min(source.len()), of_text(body[..end].to_owned())))
}

/// The length of a text in the source and what it says.
fn text(source: &str) -> (usize, String) {
    let mut said = String::new();
    let mut chars = source.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (at + 1, said),
            '\\' => match chars.next().map_or('\\', |(_, c)| c) {
                '\n' => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                'n' => said.push('\n'),
                't' => said.push('\t'),
                'r' => said.push('\r'),
                '0' => said.push('\0'),
                'x' => {
                    let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                    said.extend(u8::from_str_radix(&digits, 16).map(char::from));
                }
                'u' => {
                    let digits: String = chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    let digits = digits.trim_start_matches('{').replace('_', "");
                    said.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
                }
                other => said.push(other),
            },
            other => said.push(other),
        }
    }
    (source.len(), said)
}

/// The length of a character, or of the quote and name of a lifetime.
fn quote(source: &str) -> usize {
    let mut chars = source.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let end = chars.skip(1).find(|(_, c)| *c == '\'');
            end.map_or(source.len(), |(at, _)| at + 1)
        }
        Some((at, c)) if source[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => 1 + name_length(&source[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_the_program_sees_them() {
        let table = [
            (r#""plain""#, "plain"),
            (r#""a \"b\" \n\t\\ \x41 \u{1F600}""#, "a \"b\" \n\t\\ A 😀"),
            ("\"one \\\n      line\"", "one line"),
            ("r\"raw \\n\"", "raw \\n"),
            ("r#\"raw \"quoted\"\"#", "raw \"quoted\""),
            ("\"\"", ""),
        ];
        for (source, said) in table {
            assert_eq!(tokens(source), [Token { word: Word::Text(said.into()), line: 1 }], "{source}");
        }
    }

    #[test]
    fn comments_characters_and_lifetimes_do_not_confuse_it() {
        let source = "// query(\"a\")\n/* \" /* nested */ ' */ f::<'a>('\"', b'\"', '\\'', b\"x\", br#\"\"\"#, r#type, 1_000u8)\n\"end\"";

        let found = tokens(source);

        let texts: Vec<_> = found.iter().filter(|token| matches!(token.word, Word::Text(_))).collect();
        assert_eq!(texts, [&Token { word: Word::Text("end".into()), line: 3 }]);
        assert!(found.contains(&Token { word: Word::Name("type".into()), line: 2 }));
    }
}
