"""What is asked of which server, with how many connections."""

from dataclasses import dataclass

from .kinds import KINDS, OTHER

BATCH = 64


@dataclass(frozen=True)
class Scenario:
    title: str
    # Rows in a request, and how many of them were never seen before.
    rows: int
    new: int
    # What answers say of the cache; `None` if that is not for us to say.
    cache: str | None
    # Connections by kind of server, one kind of each column at most.
    kinds: dict
    model: str = "mnist"
    form: str = "JSON"


@dataclass(frozen=True)
class Cell:
    scenario: Scenario
    kind: str
    concurrency: int

    @property
    def key(self):
        return self.scenario.title, KINDS[self.kind].who, self.concurrency


ONE, MANY = (1, 32), (1, 8)
PARTIAL = f"PARTIAL; hits={BATCH // 2}, rows={BATCH}"
SCENARIOS = [
    # the sample model, a logistic regression
    Scenario("1 row, L1 hit", 1, 0, "HIT", {"l1": ONE, "limit l1": ONE}),
    Scenario("1 row, Redis hit", 1, 0, "HIT", {"redis": ONE, "limit redis": ONE, "node": ONE, "azureml": ONE}),
    Scenario("1 row, miss", 1, 1, "MISS", {"redis": ONE, "limit redis": ONE, "node": ONE, "azureml": ONE}),
    Scenario(
        "1 row, no cache", 1, 1, "BYPASS", {"off": ONE, "limit run": ONE, "node off": (32,), "azureml off": (32,)}
    ),
    Scenario("1 row, Redis down", 1, 1, "BYPASS", {"down": ONE}),
    Scenario("1 row, miss, policy auto", 1, 1, None, {"auto": (1,)}),
    Scenario("64 rows, all hits", BATCH, 0, "HIT", {"redis": MANY, "node": (8,), "azureml": (8,)}),
    Scenario("64 rows, half hits", BATCH, BATCH // 2, PARTIAL, {"redis": MANY}),
    Scenario("64 rows, no hit", BATCH, BATCH, "MISS", {"redis": MANY, "node": (8,), "azureml": (8,)}),
    Scenario("64 rows, no cache", BATCH, BATCH, "BYPASS", {"off": MANY, "limit run": MANY, "node off": (8,)}),
    # other ways to say the same
    Scenario("1 row, Redis hit, envelope", 1, 0, "HIT", {"redis": ONE}, form="envelope"),
    Scenario("1 row, Redis hit, V2 JSON", 1, 0, "HIT", {"redis": (1,)}, form="V2 JSON"),
    Scenario("1 row, Redis hit, V2 binary", 1, 0, "HIT", {"redis": (1,)}, form="V2 binary"),
    Scenario("1 row, Redis hit, octet-stream", 1, 0, "HIT", {"redis": (1,)}, form="octet-stream"),
    Scenario("64 rows, all hits, V2 binary", BATCH, 0, "HIT", {"redis": (1,)}, form="V2 binary"),
    Scenario("64 rows, no cache, V2 JSON", BATCH, BATCH, "BYPASS", {"off": (1,)}, form="V2 JSON"),
    Scenario("64 rows, no cache, V2 binary", BATCH, BATCH, "BYPASS", {"off": (1,)}, form="V2 binary"),
    Scenario("64 rows, no cache, octet-stream", BATCH, BATCH, "BYPASS", {"off": (1,)}, form="octet-stream"),
    # 784-512-256-10
    Scenario("MLP, 1 row, miss", 1, 1, "MISS", {"redis": ONE, "limit mlp": ONE, "node mlp": (32,)}, "mlp"),
    Scenario("MLP, 1 row, no cache", 1, 1, "BYPASS", {"off": ONE}, "mlp"),
    Scenario("MLP, 1 row, miss, policy auto", 1, 1, None, {"auto": (1,)}, "mlp"),
    Scenario("MLP, 64 rows, half hits", BATCH, BATCH // 2, PARTIAL, {"redis": (1,)}, "mlp"),
    Scenario("MLP, 64 rows, no hit", BATCH, BATCH, "MISS", {"redis": (1,)}, "mlp"),
    # a model that is dear beside a look-up
    Scenario("convnet, 1 row, Redis hit", 1, 0, "HIT", {"redis": ONE, "node convnet": (32,)}, "convnet"),
    Scenario(
        "convnet, 1 row, miss", 1, 1, "MISS", {"redis": ONE, "limit convnet": (32,), "node convnet": (32,)}, "convnet"
    ),
    Scenario("convnet, 1 row, no cache", 1, 1, "BYPASS", {"off": ONE}, "convnet"),
    Scenario("convnet, 1 row, miss, policy auto", 1, 1, None, {"auto": (1,)}, "convnet"),
]


def cells(only, columns):
    """The cells that are asked for; those that are compared with each other stand together."""

    def kinds(scenario):
        for kind, concurrencies in scenario.kinds.items():
            for name in (kind, f"{OTHER} {kind}"):
                if name in KINDS and KINDS[name].who in columns:
                    yield name, concurrencies

    def asked_for(title):
        return not only or any(text == title or (text not in titles and text.lower() in title.lower()) for text in only)

    titles = [scenario.title for scenario in SCENARIOS]
    wanted = [
        Cell(scenario, kind, concurrency)
        for scenario in SCENARIOS
        if asked_for(scenario.title)
        for kind, concurrencies in kinds(scenario)
        for concurrency in concurrencies
    ]
    return sorted(wanted, key=lambda cell: (cell.scenario.model, cell.scenario.rows, cell.concurrency))
