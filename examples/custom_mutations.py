"""Fields of one's own in the jobs API: the largest job first, by each of the three doors.

python examples/custom_mutations.py
gnj schema custom_mutations:jobs
"""

import enum
from dataclasses import dataclass

from ariadne import MutationType

import gnj


def resolve(_source, args, context):
    return context["tx"].acquire(args["typeList"], order=("-priority",))


# as in the original: a name, the types in the words of GraphQL, a resolver
mapping = gnj.Operation(type="job", args={"typeList": "[String!]!"}, resolve=resolve, action="work")
jobs = gnj.GNJ("sqlite:///custom.db", custom_mutations={"customAcquire3": mapping})


# a typed function: its annotations are the arguments and the result, its docstring the description
@jobs.mutation(transaction="serializable", action="work")
def custom_acquire(tx: gnj.Transaction, type_list: list[str]) -> gnj.Job | None:
    """Acquire the largest job first."""
    waiting = tx.list(gnj.Where(type=type_list, status="queued"))
    if not waiting:
        return None
    largest = max(waiting, key=lambda job: job.input["size"])
    return tx.acquire(type_list, where=gnj.Where(id=largest.id))


# SDL and an Ariadne resolver
mutation = MutationType()


@mutation.field("customAcquire2")
def custom_acquire_2(_source, info, typeList):  # noqa: N803 - spelled as in the SDL
    return info.context["tx"].acquire(typeList, where=gnj.Where(input={"size": gnj.Op("gte", 15)}))


jobs.extend(
    type_defs="""
    extend type Mutation {
      "The first job that is large enough."
      customAcquire2(typeList: [String!]!): job
    }
    """,
    bindables=[mutation],
    action="work",
)


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


@dataclass
class Count:
    color: Color
    count: int


@dataclass
class Summary:
    waiting: int
    by_color: list[Count]


@jobs.query
def summary(tx: gnj.Transaction, colors: list[Color] | None = None) -> Summary:
    """How many jobs there are, by the color in their input."""
    counts = [
        Count(color, tx.count(gnj.Where(input={"color": color.value})))
        for color in (list(Color) if colors is None else colors)
    ]
    return Summary(tx.count(status="queued"), [each for each in counts if each.count])


def main() -> None:
    with jobs:
        for size, color in ((10, "g"), (30, None), (20, None)):
            jobs.enqueue("resize", {"size": size} | ({"color": color} if color else {}))
        for name in ("customAcquire", "customAcquire2", "customAcquire3", "customAcquire"):
            answer = jobs.execute(f'mutation {{ {name}(typeList: ["resize"]) {{ id input }} }}')
            job = answer["data"][name]
            print(f"{name}: {job and {'id': job['id'], 'input': {'size': job['input']['size']}}}")
        print(jobs.execute("{ summary(colors: [RED, GREEN]) { waiting byColor { color count } } }")["data"])


if __name__ == "__main__":
    main()
