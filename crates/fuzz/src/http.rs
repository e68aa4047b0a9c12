//! Requests, one after the other, to a whole shop behind its edge.

use std::{cell::RefCell, time::Duration};

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use crate::{
    asked::{Known, blocks, request},
    errors,
    promise::broken,
    shop::Open,
};

/// So many inputs are asked of one shop.
const INPUTS: usize = 400;
/// No body is padded by more than so many bytes: twice what is allowed.
const LARGEST: usize = 2 << 20;
/// How long its workers work behind each input.
const WORK: Duration = Duration::from_secs(2);
/// How long they work before it is looked at as a whole.
const MORE_WORK: Duration = Duration::from_secs(60);

thread_local!(static USED: RefCell<Option<Used>> = const { RefCell::new(None) });

/// Asks what the input says. Every answer is one that the API promises, nothing
/// panics or has to be looked at by somebody, and in the end the audit finds
/// nothing. `{{staff}}`, `{{customer}}` and `{{other}}` are tokens; `{{id}}` and
/// the like are what the last answer had under that name; the header `pad` makes
/// the body larger by so many bytes, and `sign` has it signed as the payment
/// provider does.
pub fn http(input: &[u8]) {
    asks(input, Who::Strangers);
}

/// The same as one of the services, whose token is `{{service}}`. What they say
/// is believed, so the audit is left out.
pub fn rpc(input: &[u8]) {
    asks(input, Who::Services);
}

fn asks(input: &[u8], who: Who) {
    USED.with_borrow_mut(|used| {
        let shop = used.get_or_insert_with(|| Used::new(who));
        shop.inputs.push(input.to_vec());
        let mut outcome = shop.asks(input);
        let is_old = shop.inputs.len() >= INPUTS;
        if outcome.is_ok() && is_old {
            outcome = shop.is_whole();
        }
        if let Err(wrong) = outcome {
            let shop = used.take().expect("it was asked just now");
            let how = match Used::new(who).asks_alone(input) {
                Err(_) => "alone, in a new shop".to_owned(),
                Ok(()) => format!("behind {} other inputs: {}", shop.inputs.len() - 1, shop.history()),
            };
            panic!("{wrong}\nthis happens {how}");
        }
        if is_old {
            *used = None;
        }
    });
}

/// Asks what the input says of a shop that nobody has asked anything, and looks
/// at that as a whole.
#[cfg(test)]
pub fn alone(input: &[u8], who: Who) {
    if let Err(wrong) = Used::new(who).asks_alone(input) {
        panic!("{wrong}");
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq)]
pub enum Who {
    /// People, signed in or not.
    Strangers,
    /// A process that knows the services' token.
    Services,
}

/// A shop and what it was asked.
struct Used {
    shop: Open,
    api: Value,
    known: Known,
    who: Who,
    inputs: Vec<Vec<u8>>,
}

impl Used {
    fn new(who: Who) -> Used {
        let shop = Open::new();
        let (api, mut known) = (shop.api(), shop.known());
        if who == Who::Strangers {
            known.remove("service");
        }
        Used { shop, api, known, who, inputs: Vec::new() }
    }

    fn asks_alone(&self, input: &[u8]) -> Result<(), String> {
        self.asks(input)?;
        self.is_whole()
    }

    fn asks(&self, input: &[u8]) -> Result<(), String> {
        let mut known = self.known.clone();
        for block in blocks(input) {
            let Some(mut request) = request(block, &known) else { continue };
            if let Some(more) = request.headers_mut().remove("pad") {
                let more = more.to_str().ok().and_then(|more| more.parse().ok()).unwrap_or(0);
                let length = request.body().len() + LARGEST.min(more);
                request.body_mut().resize(length, b' ');
            }
            if request.headers_mut().remove("sign").is_some() {
                self.shop.sign(&mut request);
            }
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let answer = self.shop.ask(request);
            if let Some(wrong) = broken(&self.api, &method, &path, &answer).or_else(heard) {
                let (asked, said) = (String::from_utf8_lossy(block), String::from_utf8_lossy(answer.body()));
                return Err(format!("{wrong}\n{asked}\n=> {}\n{said}", answer.status()));
            }
            remember(&mut known, &answer);
        }
        self.shop.work(WORK);
        heard().map_or(Ok(()), Err)
    }

    fn is_whole(&self) -> Result<(), String> {
        self.shop.work(MORE_WORK);
        let breaches = if self.who == Who::Strangers { self.shop.breaches() } else { Vec::new() };
        if let [breach, ..] = &breaches[..] {
            return Err(format!("{} breaches, such as: {breach}", breaches.len()));
        }
        heard().map_or(Ok(()), Err)
    }

    /// A file with all that it was asked, which is an input itself.
    fn history(&self) -> String {
        let file = tempfile::Builder::new().suffix(".http").tempfile().unwrap();
        std::fs::write(file.path(), self.inputs.join(&b"\n###\n"[..])).unwrap();
        file.into_temp_path().keep().unwrap().display().to_string()
    }
}

fn heard() -> Option<String> {
    Some(errors::heard()).filter(|cries| !cries.is_empty())
}

/// What an answer says under a name, or the first item of its list.
fn remember(known: &mut Known, answer: &Response<Bytes>) {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    for fields in [&body["items"][0], &body].into_iter().filter_map(Value::as_object) {
        let texts =
            fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        known.extend(texts);
    }
    for name in ["etag", "location"] {
        if let Some(Ok(value)) = answer.headers().get(name).map(|value| value.to_str()) {
            known.insert(name.to_owned(), value.to_owned());
        }
    }
}
