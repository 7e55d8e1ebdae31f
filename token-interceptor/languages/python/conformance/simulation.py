"""A client layer on a simulated clock, against an issuer that follows a script."""

import heapq
import itertools
from collections.abc import Callable, Sequence

from google.protobuf import descriptor_pb2, duration_pb2, timestamp_pb2

from m2m.conformance.v1 import conformance_pb2 as pb
from m2m_token import answers, token_response
from m2m_token.calls import Demands, Failure, Obtain, Procedure, Reply, Send, Terms, Tokens, procedure
from m2m_token.errors import ERROR_DOMAIN
from m2m_token.keeper import Answer, NoToken, Ready
from m2m_token.layer import without_marks
from m2m_token.machine import SECOND, Now
from m2m_token.policy import Policy
from m2m_token.source import IssuedToken, SourceError, TokenRequest

# The order of what happens at one time.
JUMP, ANSWER, TIMER, CALL, PATIENCE = range(5)


class World:
    """The simulated clock, and everything that is going to happen. It is a `keeper.Runtime`."""

    def __init__(self, start: int, draw: float):
        self.monotonic = 0
        self.wall = start
        self._draw = draw
        self._events: list[tuple[int, int, int, list[Callable[[], None]]]] = []
        self._numbers = itertools.count()

    def at(self, time: int, order: int, happen: Callable[[], None]) -> Callable[[], None]:
        slot = [happen]
        heapq.heappush(self._events, (max(time, self.monotonic), order, next(self._numbers), slot))
        return slot.clear

    def run_until(self, end: int) -> None:
        while self._events and self._events[0][0] <= end:
            time, _, _, slot = heapq.heappop(self._events)
            self.wall += time - self.monotonic
            self.monotonic = time
            for happen in slot:
                happen()

    def jump(self, by: int) -> None:
        self.wall += by

    def now(self) -> Now:
        return Now(self.monotonic, self.wall)

    def draw(self) -> float:
        return self._draw

    def call_at(self, monotonic: int, call: Callable[[], None]) -> Callable[[], None]:
        return self.at(monotonic, TIMER, call)

    def run(self, fetch: Callable[[], IssuedToken], done: Callable[[Answer], None]) -> None:
        # The scripted issuer notes the request and says when its answer arrives.
        try:
            fetch()
        except Scripted as scripted:
            if scripted.answer is not None:
                self._arrive(scripted.answer, done)

    def _arrive(self, answer: pb.IssuerAnswer, done: Callable[[Answer], None]) -> None:
        def arrive() -> None:
            try:
                outcome: Answer = read(answer, self.wall / SECOND)
            except SourceError as error:
                outcome = error
            done(outcome)

        self.at(self.monotonic + nanoseconds(answer.delay), ANSWER, arrive)


class Scripted(Exception):
    """The answer of the script to a request; None where it stalls."""

    def __init__(self, answer: pb.IssuerAnswer | None):
        super().__init__()
        self.answer = answer


class Issuer:
    """A token source that follows the script."""

    def __init__(self, world: World, answers: Sequence[pb.IssuerAnswer]):
        self._world = world
        self._answers = list(answers)
        self.requests: list[pb.TokenRequest] = []

    def fetch(self, request: TokenRequest) -> IssuedToken:
        number = len(self.requests)
        self.requests.append(
            pb.TokenRequest(
                at=duration(self._world.monotonic),
                audience=request.audience or "",
                scopes=sorted(request.scopes),
            )
        )
        raise Scripted(self._answers[number] if number < len(self._answers) else None)


def read(answer: pb.IssuerAnswer, now: float) -> IssuedToken:
    if answer.connection_failed:
        raise SourceError("the connection failed", cause="connection_refused")
    headers = {"retry-after": answer.retry_after} if answer.retry_after else {}
    return token_response.read(token_response.HttpResponse(answer.status, headers, answer.body), now)


class ScriptedReply:
    """The answer of the called server to one attempt."""

    def __init__(self, answer: pb.ServerAnswer):
        self.answer = answer

    def refusal(self) -> tuple[int, str, str, Sequence[str]]:
        domain = ERROR_DOMAIN if self.answer.reason else ""
        return self.answer.code, self.answer.reason, domain, self.answer.marks


class RunningCall:
    """One call of the program."""

    def __init__(self, world: World, call: pb.Call):
        self._world = world
        self._answers = list(call.answers)
        self.result = pb.CallResult(code=-1)

    def start(self, steps: Procedure) -> None:
        self._steps = steps
        self._go_on(None, first=True)

    def send(self, token: str) -> ScriptedReply:
        number = len(self.result.attempts)
        self.result.attempts.append(token)
        return ScriptedReply(self._answers[number] if number < len(self._answers) else pb.ServerAnswer())

    def end(self, code: int, reason: str, marks: Sequence[str] = ()) -> None:
        self.result.code = code
        self.result.reason = reason
        received = without_marks([(answers.MARK, mark) for mark in marks])
        self.result.marks.extend(str(value) for _, value in received)
        self.result.at.CopyFrom(duration(self._world.monotonic))

    def _go_on(self, sent: Ready | NoToken | Reply | None, first: bool = False) -> None:
        while True:
            try:
                step = next(self._steps) if first else self._steps.send(sent)
            except StopIteration as stop:
                self._finish(stop.value)
                return
            first = False
            if isinstance(step, Obtain):
                self._wait(step)
                return
            assert isinstance(step, Send)
            sent = self.send(step.ready.value if step.ready else "")

    def _wait(self, step: Obtain) -> None:
        over = False

        def once(outcome: Ready | NoToken | None) -> None:
            nonlocal over
            if not over:
                over = True
                # The token may have been told from within the state machine.
                self._world.at(self._world.monotonic, ANSWER, lambda: self._go_on(outcome))

        self._world.at(step.until, PATIENCE, lambda: once(None))
        if step.rejected:
            step.keeper.replace(step.rejected, once)
        else:
            step.keeper.obtain(once)

    def _finish(self, outcome: Reply | Failure) -> None:
        if isinstance(outcome, Failure):
            self.end(outcome.code, outcome.answer.reason if outcome.answer else "")
        else:
            assert isinstance(outcome, ScriptedReply)
            self.end(outcome.answer.code, outcome.answer.reason, outcome.answer.marks)


def run(case: pb.ClientCase) -> pb.ClientResult:
    """Runs a client case."""
    start = case.start.seconds * SECOND + case.start.nanos
    world = World(start, case.draw)
    issuer = Issuer(world, case.answers)
    tokens = Tokens(issuer, world)
    files = descriptor_pb2.FileDescriptorSet.FromString(case.descriptors).file
    demands = Demands(Policy.of_everything(files))
    if case.sharing:
        demands.share(list(case.sharing))
    for jump in case.jumps:
        by = nanoseconds(jump.by)
        world.at(nanoseconds(jump.at), JUMP, lambda by=by: world.jump(by))
    calls = [RunningCall(world, call) for call in case.calls]
    for call, running in zip(case.calls, calls, strict=True):
        world.at(
            nanoseconds(call.at),
            CALL,
            lambda call=call, running=running: _begin(call, running, world, demands, tokens),
        )
    world.run_until(nanoseconds(case.until))
    return pb.ClientResult(requests=issuer.requests, calls=[running.result for running in calls])


def _begin(call: pb.Call, running: RunningCall, world: World, demands: Demands, tokens: Tokens) -> None:
    demand = demands.of(call.method)
    if demand.request is None:
        answer = running.send("").answer
        running.end(answer.code, answer.reason, answer.marks)
        return
    deadline = world.monotonic + nanoseconds(call.deadline) if call.HasField("deadline") else None
    keeper = tokens.of(demand.request)
    terms = Terms(demand.replayable, demand.optional, deadline)
    running.start(procedure(keeper, call.method, terms, world))


def nanoseconds(value: duration_pb2.Duration | timestamp_pb2.Timestamp) -> int:
    return value.seconds * SECOND + value.nanos


def duration(value: int) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=value // SECOND, nanos=value % SECOND)
