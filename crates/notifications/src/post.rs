//! How a mail leaves: by SMTP, or into a folder.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use http::Uri;
use kernel::{Error, Kind, Result, World};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor,
    message::{Mailbox, MultiPart, SinglePart},
    transport::smtp::authentication::Credentials,
};

use crate::{Message, Settings};

/// How long a mail server may take for one step of a conversation.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where mails go, and who they are from.
pub(crate) struct Post {
    from: Mailbox,
    way: Way,
}

enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

impl Post {
    pub(crate) fn new(settings: &Settings) -> Result<Post> {
        let from = settings.from.parse().map_err(|error: lettre::address::AddressError| {
            let message =
                format!("a sender looks like Carmel <shop@example.com>, not {:?}: {error}", settings.from);
            Error::invalid("invalid_sender", message)
        })?;
        let way = match &settings.smtp_url {
            Some(url) => Way::Smtp(smtp(url)?),
            None => Way::Folder(settings.folder.clone()),
        };
        Ok(Post { from, way })
    }

    /// Sends a message, or says whether trying again makes sense: a transient
    /// failure is `unavailable`, a refusal is `mail_refused`.
    pub(crate) async fn send(&self, world: &World, message: &Message) -> Result<()> {
        let mail = self.mail(world, message)?;
        match &self.way {
            Way::Smtp(smtp) => smtp.send(mail).await.map(drop).map_err(smtp_failed),
            Way::Folder(folder) => {
                let (folder, name) = (folder.clone(), format!("{}.eml", message.id));
                let written = world.blocking(move || write(&folder, &name, &mail.formatted())).await?;
                written.map_err(|error| {
                    Error::unavailable(
                        "mail_folder_unavailable",
                        "the mail cannot be written into the mail folder",
                    )
                    .because(error)
                })
            }
        }
    }

    fn mail(&self, world: &World, message: &Message) -> Result<Mail> {
        let to: Address =
            message.recipient.as_str().parse().map_err(|error: lettre::address::AddressError| {
                Error::invalid(
                    "invalid_recipient",
                    format!("message {} has an address that no mail can go to", message.id),
                )
                .because(error)
            })?;
        let at = UNIX_EPOCH + Duration::from_micros(u64::try_from(world.now().micros()).unwrap_or_default());
        let builder = Mail::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(message.subject.as_str())
            .date(at)
            // The same for every try, so that a mail that came twice can be recognised.
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())));
        let text = message.text.clone();
        let mail = match message.html.clone() {
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
            None => builder.singlepart(SinglePart::plain(text)),
        };
        mail.map_err(Error::internal)
    }
}

/// A transport to `smtp://host[:port]`, or `smtp://user:password@host[:port]`
/// on this machine: there is no TLS yet, and a password does not go over a
/// network in clear.
fn smtp(url: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
    // The URL may hold a password, so it is not repeated.
    let wrong = |why: &str| {
        let message = format!("a mail server is smtp://host:25; {why}");
        Error::invalid("invalid_smtp_url", message)
    };
    let uri: Uri = url.parse().map_err(|_| wrong("this is no URL"))?;
    match uri.scheme_str() {
        Some("smtp") => {}
        Some("smtps") => return Err(wrong("smtps is not spoken yet")),
        _ => return Err(wrong("this does not begin with smtp://")),
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("the host is missing"))?;
    let host = host.trim_matches(['[', ']']);
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(uri.port_u16().unwrap_or(25))
        .timeout(Some(PATIENCE));
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let Some((user, password)) =
        authority.rsplit_once('@').map(|(who, _)| who.split_once(':').unwrap_or((who, "")))
    else {
        return Ok(builder.build());
    };
    if !is_this_machine(host) {
        return Err(wrong(
            "a user and a password would go to it in clear, so only a mail server on this machine \
             can have them: let a relay at smtp://user:password@127.0.0.1:25 pass mails on",
        ));
    }
    let plain = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| wrong("the user or the password is no UTF-8"))
    };
    Ok(builder.credentials(Credentials::new(plain(user)?, plain(password)?)).build())
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// 5yz is final (RFC 5321, 4.2.1); everything else may pass by itself.
fn smtp_failed(error: lettre::transport::smtp::Error) -> Error {
    if error.is_permanent() {
        let code = error.status().map_or_else(String::new, |status| format!(" ({status})"));
        Error::new(Kind::Invalid, "mail_refused", format!("the mail server refused the mail{code}"))
            .because(error)
    } else {
        Error::unavailable("mail_server_unavailable", "the mail server does not take the mail now")
            .because(error)
    }
}

/// Whole or not at all; a repeat writes the same file again.
fn write(folder: &Path, name: &str, mail: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let part = folder.join(format!(".{name}.part"));
    std::fs::write(&part, mail)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(part, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The transport's pool of connections is looked after by a task.
    #[tokio::test]
    async fn a_mail_server_is_an_smtp_url() {
        for (url, fits) in [
            ("smtp://127.0.0.1:2525", true),
            ("smtp://mail.example.com", true),
            ("smtp://ann:p%40ss@127.0.0.1:587", true),
            ("smtp://ann:p%40ss@[::1]:587", true),
            ("smtp://ann:p%40ss@localhost", true),
            ("smtp://ann:p%40ss@mail.example.com:587", false),
            ("smtp://ann@10.0.0.1", false),
            ("smtp://ann:p%40ss@localhost.example.com", false),
            ("smtp://ann:p%40ss@127.0.0.1@mail.example.com", false),
            ("smtps://mail.example.com", false),
            ("http://mail.example.com", false),
            ("mail.example.com", false),
        ] {
            let error = smtp(url).err();
            assert_eq!(error.is_none(), fits, "{url}: {error:?}");
            assert!(!error.is_some_and(|error| error.chain().contains("p%40ss")));
        }
        let error = smtp("smtp://ann:secret@mail.example.com").err().unwrap();
        assert_eq!(error.code, "invalid_smtp_url");
        assert!(error.message.contains("127.0.0.1") && !error.message.contains("secret"), "{error}");
    }
}
