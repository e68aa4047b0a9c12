//! Requests as a text, in the format of `.http` files: blocks behind `###`,
//! each a line with method and address, headers, an empty line and the body.
//! `{{name}}` stands for what is known by that name.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// What stands in braces, by its name.
pub type Known = BTreeMap<String, String>;

/// Longer words do not fit into an address.
const LONGEST: usize = 65_000;

/// The blocks of a text.
pub fn blocks(text: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    let (mut began, mut at) = (0, 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"###") {
            blocks.push(&text[began..at]);
            began = at + line.len();
        }
        at += line.len();
    }
    blocks.push(&text[began..]);
    blocks.retain(|block| !block.trim_ascii().is_empty());
    blocks
}

/// The request of a block; nothing if no server would take it for one.
pub fn request(block: &[u8], known: &Known) -> Option<Request<Vec<u8>>> {
    let block = filled(block, known);
    let (head, body) = match block.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&block[..at], block[at + 2..].strip_suffix(b"\n").unwrap_or(&block[at + 2..])),
        None => (block.strip_suffix(b"\n").unwrap_or(&block), &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(body.to_vec());
    *request.method_mut() = Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(words.next()?).ok().filter(|uri| uri.path().starts_with('/'))?;
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
    }
    Some(request)
}

/// The text with what is known in the place of its name. `{{cursor a|b}}` is a
/// cursor of these keys, with the sum that it must have; `{{long 9000}}` a word of
/// so many letters.
fn filled(text: &[u8], known: &Known) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.windows(2).position(|pair| pair == b"{{") {
        filled.extend_from_slice(&rest[..open]);
        let inside = &rest[open + 2..];
        let end = inside.windows(2).position(|pair| pair == b"}}");
        let Some((end, value)) = end.and_then(|end| Some((end, named(&inside[..end], known)?))) else {
            filled.extend_from_slice(b"{{");
            rest = inside;
            continue;
        };
        filled.extend_from_slice(value.as_bytes());
        rest = &inside[end + 2..];
    }
    filled.extend_from_slice(rest);
    filled
}

fn named(name: &[u8], known: &Known) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    match name.split_once(' ') {
        Some(("cursor", keys)) => Some(web::Cursor::of(&keys.split('|').collect::<Vec<_>>()).to_string()),
        Some(("long", letters)) => Some("x".repeat(LONGEST.min(letters.parse().ok()?))),
        _ => known.get(name).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let known = Known::from([("id".to_owned(), "usr_1".to_owned())]);
        let text =
            b"### one\nGET /users/{{id}}?a={{b}}\nx-a: 1\n\n###\nPOST /login\n\n{\"a\":{\"b\":{}}}\n\n###\nGET /\n###\nno request";

        let read: Vec<_> = blocks(text).into_iter().filter_map(|block| request(block, &known)).collect();

        let said: Vec<_> =
            read.iter().map(|r| (r.method().as_str(), r.uri().to_string(), r.headers().len())).collect();
        let wanted = [("GET", "/users/usr_1?a={{b}}", 1), ("POST", "/login", 0), ("GET", "/", 0)];
        assert_eq!(said, wanted.map(|(method, uri, headers)| (method, uri.to_owned(), headers)));
        assert_eq!(read[1].body(), b"{\"a\":{\"b\":{}}}\n");
    }
}
