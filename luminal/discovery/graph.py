"""Circles and order in a graph of who waits for whom: numbers only, no photons."""

from __future__ import annotations

import heapq
from collections import defaultdict

__all__ = ["Graph", "circles", "in_order"]

Graph = dict[int, set[int]]
"""Number → the numbers that it waits for."""


def circles(graph: Graph) -> dict[int, list[int]]:
    """Return each number that waits for itself → its shortest way back to itself."""
    found: dict[int, list[int]] = {}
    for component in _components(graph):
        for number in component:
            way = _way_back(number, set(component), graph)
            if way:
                found[number] = way
    return found


def in_order(count: int, graph: Graph) -> list[int]:
    """Return 0 … *count* - 1, each after what it waits for, else by size.

    Args:
        count: How many there are.
        graph: A graph without circles.
    """
    waits = [len(graph.get(number, ())) for number in range(count)]
    followers: dict[int, list[int]] = defaultdict(list)
    for number, others in graph.items():
        for other in others:
            followers[other].append(number)
    ready = [number for number, others in enumerate(waits) if not others]
    result: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        result.append(number)
        for follower in followers[number]:
            waits[follower] -= 1
            if not waits[follower]:
                heapq.heappush(ready, follower)
    return result


def _way_back(start: int, members: set[int], graph: Graph) -> list[int]:
    """Return the shortest path from *start* to itself, empty if there is none."""
    came: dict[int, int] = {}
    queue = [start]
    for index in queue:
        for other in sorted(graph.get(index, ())):
            if other == start:
                back = [index]
                while back[-1] != start:
                    back.append(came[back[-1]])
                return [*reversed(back), start]
            if other in members and other not in came:
                came[other] = index
                queue.append(other)
    return []


def _components(graph: Graph) -> list[list[int]]:
    """Return the strongly connected components (Tarjan's way, without recursion)."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    result: list[list[int]] = []
    for root in sorted(graph):
        if root in number:
            continue
        work = [(root, iter(sorted(graph.get(root, ()))))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, others = work[-1]
            for other in others:
                if other not in number:
                    number[other] = low[other] = len(number)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(sorted(graph.get(other, ())))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], number[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    cut = stack.index(node)
                    result.append(sorted(stack[cut:]))
                    on_stack.difference_update(stack[cut:])
                    del stack[cut:]
    return result
