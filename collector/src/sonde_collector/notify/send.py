"""One message to one channel: a POST or a mail, and what came of it."""

import asyncio
import datetime as dt
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from typing import Literal

import httpx

from sonde_collector.inventory.model import Notify
from sonde_collector.notify import text
from sonde_collector.notify.answers import Outcome, judge
from sonde_collector.notify.event import Notice
from sonde_collector.notify.message import Secrets, Unsendable, request
from sonde_collector.notify.secret_files import hidden, read_secrets, scrub

_BODY = 4096  # bytes of an answer that are read
_SAID = 300  # characters of it that are kept
_SUBMISSION, _SUBMISSIONS = 587, 465  # RFC 6409, RFC 8314


async def send(channel: Notify, notices: Sequence[Notice], database: str) -> Outcome:
    """Tell a channel of these notices; whatever goes wrong is the outcome.

    Args:
        channel: which.
        notices: at least one, at most `message.MOST` of its kind.
        database: id of the database: event ids are its own.
    """
    try:
        secrets = await asyncio.to_thread(read_secrets, channel)
    except Unsendable as error:
        return Outcome("retry", str(error))  # a file that is put there later heals it
    try:
        outcome = await _attempt(channel, secrets, notices, database)
    except Unsendable as error:
        outcome = Outcome("give_up", str(error))
    except Exception as error:  # noqa: BLE001 -- one message must never keep all others from being sent
        outcome = Outcome("give_up", f"{type(error).__name__} (a mistake of ours)")
    said = text.cut(scrub(text.one_line(outcome.said), hidden(secrets)), _SAID)
    return Outcome(outcome.action, said, outcome.wait_s)


async def _attempt(channel: Notify, secrets: Secrets, notices: Sequence[Notice], database: str) -> Outcome:
    now = dt.datetime.now(dt.UTC)
    if channel.kind == "smtp":
        try:
            async with asyncio.timeout(channel.timeout):
                return await asyncio.to_thread(_mail, channel, secrets, notices, database, now)
        except TimeoutError:
            return Outcome("retry", f"no answer within {channel.timeout:g} s")
    post = request(channel, secrets, notices, database=database, now=now)
    return await call(
        "POST",
        post.url,
        timeout_s=channel.timeout,
        headers=post.headers,
        body=post.body,
        ca_file=channel.ca_file,
    )


async def call(
    method: Literal["GET", "POST"],
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    ca_file: str | None = None,
) -> Outcome:
    """Call a URL once and judge its answer; a redirect is not followed.

    Raises:
        Unsendable: ca_file holds no certificate.
    """
    trust = _trust(ca_file)
    try:
        # No proxy and no .netrc of the environment: a secret goes where the channel says, nowhere else.
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(verify=trust, trust_env=False, timeout=timeout_s) as client,
            client.stream(method, url, headers=headers, content=body, follow_redirects=False) as answer,
        ):
            said = b""
            async for piece in answer.aiter_raw():
                said += piece
                if len(said) >= _BODY:
                    break
            found = {name.lower(): value for name, value in answer.headers.items()}
            return judge(answer.status_code, found, said[:_BODY], dt.datetime.now(dt.UTC))
    except (TimeoutError, httpx.TimeoutException):
        return Outcome("retry", f"no answer within {timeout_s:g} s")
    except httpx.HTTPError as error:
        return Outcome("retry", _why(error))
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return Outcome("give_up", "the URL or a header can't be sent: look at the channel's files")


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise Unsendable(f'ca_file "{ca_file}" holds no certificate in PEM') from None


def _why(error: Exception) -> str:
    """Give an error without the address that libraries put into it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    said = (isinstance(cause, OSError) and cause.strerror) or str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _mail(
    channel: Notify, secrets: Secrets, notices: Sequence[Notice], database: str, now: dt.datetime
) -> Outcome:
    host, direct = channel.host or "", channel.tls == "tls"
    port = channel.port or (_SUBMISSIONS if direct else _SUBMISSION)
    message = text.mail(channel, notices, database=database, now=now)
    if secrets.password is not None and channel.tls == "none" and not _here(host):
        raise Unsendable("the password would travel in plain text: set tls, or use a server on this host")
    trust = _trust(channel.ca_file)
    try:
        with (
            smtplib.SMTP_SSL(host, port, timeout=channel.timeout, context=trust)
            if direct
            else smtplib.SMTP(host, port, timeout=channel.timeout)
        ) as server:
            if channel.tls == "starttls":
                server.starttls(context=trust)
            if channel.user is not None:
                server.login(channel.user, secrets.password or "")
            refused = server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        return _refused(error.recipients)
    except smtplib.SMTPNotSupportedError as error:
        return Outcome("give_up", str(error))
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
        lasting = 500 <= error.smtp_code < 600  # noqa: PLR2004 -- RFC 5321 4.2.1
        return Outcome("give_up" if lasting else "retry", f"{error.smtp_code} {said}")
    except (smtplib.SMTPException, OSError) as error:
        return Outcome("retry", _why(error))
    if refused:
        return Outcome("sent", f"accepted, but not for {', '.join(refused)}")
    return Outcome("sent", "accepted")


def _refused(recipients: dict[str, tuple[int, bytes]]) -> Outcome:
    codes = [code for code, _ in recipients.values()]
    lasting = all(500 <= code < 600 for code in codes)  # noqa: PLR2004 -- RFC 5321 4.2.1
    return Outcome("give_up" if lasting else "retry", f"{codes[0]} no recipient is accepted")


def _here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
