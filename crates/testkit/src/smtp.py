"""Keeps every mail that arrives as JSON, as Python's own email package reads it."""
import asyncio, email, email.policy, json, os, sys, time
from aiosmtpd.smtp import SMTP


class Keep:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        form = lambda kind: (part := mail.get_body((kind,))) and part.get_content().replace("\r\n", "\n")
        seen = {
            "sender": envelope.mail_from,
            "receivers": envelope.rcpt_tos,
            "subject": str(mail["Subject"]),
            "message_id": str(mail["Message-ID"]),
            "text": form("plain"),
            "html": form("html"),
            "headers": [[name, str(value)] for name, value in mail.items()],
        }
        path = os.path.join(sys.argv[2], f"{time.time_ns():020}")
        with open(path + ".part", "w") as file:
            json.dump(seen, file)
        os.rename(path + ".part", path + ".json")
        return "250 kept"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keep(), hostname="localhost"), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
