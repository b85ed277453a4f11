"""Which echoes are on their way: matches what comes back, and the kernel's stamps, to them."""

from __future__ import annotations

import sys
import time

from sonde_agent.net.echoes import OWN_PAYLOAD_BYTES, Run
from sonde_agent.net.icmp_columns import ErrorQueue, Refusal, Replies
from sonde_agent.net.icmp_socket import IcmpSocket
from sonde_agent.net.step_watch import StepWatch

_KEYS = 2**32  # TX stamps are numbered modulo this


class InFlight:
    """The runs of one engine and their echoes.

    Attributes:
        runs: by token.
        unanswered: echoes sent and not yet answered, of all runs.
    """

    def __init__(self, icmp: IcmpSocket) -> None:
        self._icmp = icmp
        self._replies = Replies(icmp)
        self._errors = ErrorQueue(icmp)
        self._steps = StepWatch()
        # Number of a TX stamp -> its echo. Two maps, because a pair for each echo keeps the garbage
        # collector busy with a tenth of the CPU at 60 000 a second.
        self._awaiting: dict[int, Run] = {}
        self._awaiting_index: dict[int, int] = {}
        self._next_key = 0
        self.runs: dict[int, Run] = {}
        self.unanswered = 0

    def remove(self, run: Run) -> None:
        """Forgets a run; what comes for it later is nobody's."""
        if self.runs.pop(run.token, None) is not None:
            self.unanswered -= run.next - run.settled
        if not self.runs:
            self._forget_stamps()

    def sent(self, runs: list[Run], handed_ns: int) -> None:
        """Books one echo of each of these runs, in the order in which the kernel took them."""
        key, awaiting, index = self._next_key, self._awaiting, self._awaiting_index
        self.unanswered += len(runs)
        for run in runs:
            i = run.next
            awaiting[key] = run
            index[key] = i
            key = (key + 1) % _KEYS
            run.echoes.tx_ns[i] = handed_ns
            run.next = i + 1
        self._next_key = key

    def refused(self, run: Run, code: int) -> None:
        """Books that our kernel refused the run's next echo."""
        run.echoes.send_errors[run.next] = code
        run.next += 1
        run.settled += 1

    def renumber(self) -> None:
        """After a failed send: whether it used up a stamp's number depends on the kernel, so begin anew."""
        self.take_errors()
        self._icmp.restart_numbering()
        self._forget_stamps()
        self._next_key = 0

    def _forget_stamps(self) -> None:
        self._awaiting.clear()
        self._awaiting_index.clear()

    def take_replies(self) -> list[Run]:
        """Books the replies that wait; returns the runs that have nothing more to wait for."""
        complete: list[Run] = []
        find, answered = self.runs.get, 0
        while (replies := self._replies.take()) is not None:
            heard = time.time_ns()
            if self._steps.stepped():
                self._spoil()
            for token, nonce, high, low, source, seconds, nanos, ttl in replies:
                run = find(token)
                i = high << 8 | low
                if run is None or i >= run.next or run.nonces[i] != nonce or run.source != source:
                    continue  # somebody else's, of a run that is over, or forged
                echoes = run.echoes
                if echoes.rx_ns[i]:
                    echoes.duplicates += 1
                    continue
                if seconds:
                    echoes.rx_ns[i] = seconds * 1_000_000_000 + nanos
                else:
                    echoes.rx_ns[i] = heard
                    echoes.user_stamped.add(i)
                echoes.ttl = ttl
                run.settled += 1
                answered += 1
                if run.settled == run.count:
                    complete.append(run)
        self.unanswered -= answered
        return complete

    def take_errors(self) -> None:
        """Books the TX stamps and ICMP errors that wait."""
        pop, index = self._awaiting.pop, self._awaiting_index.pop
        while (batch := self._errors.take()) is not None:
            stamps, refusals = batch
            for key, seconds, nanos in stamps:
                run = pop(key, None)
                if run is None:
                    continue
                i = index(key)
                stamp = seconds * 1_000_000_000 + nanos
                if stamp >= run.echoes.tx_ns[i]:  # an earlier one belongs to a numbering that is over
                    run.kernel_tx_ns[i] = stamp
            for refusal in refusals:
                self._book(refusal)

    def _book(self, refusal: Refusal) -> None:
        i, payload = refusal.quoted.sequence, refusal.quoted.payload
        if len(payload) >= OWN_PAYLOAD_BYTES:
            run = self.runs.get(int.from_bytes(payload[:8], sys.byteorder))
            nonce = int.from_bytes(payload[8:16], sys.byteorder)
            runs = [run] if run is not None and i < run.next and run.nonces[i] == nonce else []
        else:  # RFC 792 asks routers to quote 8 bytes only: then the target and the number must do
            runs = [run for run in self.runs.values() if i < run.next and not run.echoes.rx_ns[i]]
        runs = [run for run in runs if run.source == refusal.target]
        if len(runs) == 1:
            runs[0].echoes.icmp_errors[i] = refusal.error

    def _spoil(self) -> None:
        """The wall clock was set: what was in flight has stamps on either side of the step."""
        for run in self.runs.values():
            echoes = run.echoes
            echoes.stepped.update(i for i in range(run.next) if not echoes.rx_ns[i])
