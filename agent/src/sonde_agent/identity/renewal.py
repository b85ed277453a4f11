"""Keeps the certificate of a running agent from ending: renewed at two thirds of its life, or later.

The work is done by a process of its own (`sonde-agent renew`), so that the agent carries no cryptography.
"""

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from sonde_agent.checks.endpoint.certificate import CertificateTerm, certificate_term
from sonde_agent.config import Tls
from sonde_agent.identity.terms import due_us, moment, pause_s
from sonde_agent.pem import first_der

log = structlog.get_logger()

_RENEW = (sys.executable, "-I", "-m", "sonde_agent.cli", "renew")
_LOOK_S = 30.0  # the clock may be stepped, and a person may have enrolled anew
_LEAST_S = 0.05
_WITHIN_S = 90.0
_ASK_S = 3600.0  # between two tries of a certificate that is not due, but that is not accepted either
_ONE_DAY_S = 86_400.0


class Renewal:
    """The loop.

    Attributes:
        last_error: why the last try failed, in words; empty after one that did not.
        until_us: when the certificate in use ends; None if it can't be read.
    """

    def __init__(
        self,
        tls: Tls,
        path: Path,
        *,
        wall_us: Callable[[], int],
        refused: Callable[[], bool],
        on_renewed: Callable[[], None],
    ) -> None:
        """Wire it up; nothing is read yet.

        Args:
            tls: what is in use, with `enroll`.
            path: of agent.toml.
            wall_us: UTC, microseconds.
            refused: whether collector and agent do not accept each other's certificates now.
            on_renewed: called when new files are in use.
        """
        self.last_error = ""
        self.until_us: int | None = None
        self._tls = tls
        self._path = path
        self._wall_us = wall_us
        self._refused = refused
        self._on_renewed = on_renewed
        self._failures = 0
        self._asked_s = -_ASK_S

    async def run(self) -> None:
        """Renew when it is due, until cancelled."""
        while True:
            term = await asyncio.to_thread(self._read)
            self.until_us = term.not_after_us if term else None
            left_s = self._due_in_s(term)
            if left_s > 0:
                if not self._refused():
                    self.last_error = ""  # a person may have enrolled anew
                await asyncio.sleep(max(_LEAST_S, min(left_s, _LOOK_S)))
                continue
            life_s = (term.not_after_us - term.not_before_us) / 1e6 if term else _ONE_DAY_S
            self._asked_s = asyncio.get_running_loop().time()
            if await self._renew():
                self._on_renewed()
                if await self._holds():
                    self._failures = 0
                    continue
            self._failures += 1
            longest = pause_s(self._failures, life_s)
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 -- no secret

    async def _holds(self) -> bool:
        """Tell whether a new certificate is not due again at once; by a clock far ahead, each is."""
        term, now_us = await asyncio.to_thread(self._read), self._wall_us()
        if term is None or due_us(term.not_before_us, term.not_after_us) > now_us:
            return True
        self._fail(
            f"this host's clock says {moment(now_us)}, and the certificate that was just issued ends at "
            f"{moment(term.not_after_us)}: set the clock"
        )
        return False

    def _due_in_s(self, term: CertificateTerm | None) -> float:
        now_s = asyncio.get_running_loop().time()
        asked_s = self._asked_s + _ASK_S - now_s
        if term is None:
            return asked_s
        due_s = (due_us(term.not_before_us, term.not_after_us) - self._wall_us()) / 1e6
        return min(due_s, asked_s) if self._refused() else due_s

    def _read(self) -> CertificateTerm | None:
        try:
            return certificate_term(first_der(self._tls.cert))
        except (OSError, ValueError):
            return None

    async def _renew(self) -> bool:
        process = await asyncio.create_subprocess_exec(
            *_RENEW, "--config", str(self._path),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_WITHIN_S):
                _, said = await process.communicate()
        except TimeoutError:
            said = b"it took too long"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            term = await asyncio.to_thread(self._read)
            self.until_us = term.not_after_us if term else None
            self.last_error = ""
            log.info("certificate_renewed", until=moment(self.until_us or 0))
            return True
        error = " ".join(said.decode(errors="replace").replace("sonde-agent: ", "").split())
        self._fail(error)
        return False

    def _fail(self, error: str) -> None:
        if error != self.last_error:
            ends = moment(self.until_us) if self.until_us is not None else "unknown"
            log.warning("certificate_not_renewed", error=error, ends=ends, advice="measuring goes on")
        self.last_error = error
