"""Fifteen threads that swallow, in different ways, the exception that ends them."""

# ruff: noqa: SIM105, B012 - bad habits are what this file is about

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time


def spin(n=200):
    x = 0
    for i in range(n):
        x += i
    return x


def swallow_in_a_loop():
    while True:
        try:
            spin()
        except BaseException:
            pass


def loop_inside_try():
    while True:
        try:
            while True:
                spin()
        except BaseException:
            pass


def tight_loop_inside_try():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def sleep_and_go_on():
    while True:
        try:
            time.sleep(0.005)
        except BaseException:
            continue


def finally_continue():
    while True:
        try:
            spin()
        finally:
            continue


def keep_the_exception():
    kept = []
    while True:
        try:
            spin()
        except BaseException as e:
            kept.append(e)


def suppress():
    while True:
        with contextlib.suppress(BaseException):
            spin()


def swallowing_exit():
    class C:
        def __enter__(self):
            return self

        def __exit__(self, *a):
            return True

    while True:
        with C():
            spin()


def fib(n):
    try:
        return n if n < 2 else fib(n - 1) + fib(n - 2)
    except BaseException:
        return 1


def recursion_that_swallows():
    while True:
        try:
            fib(15)
        except BaseException:
            pass


def queue_with_timeout():
    q = queue.Queue()
    while True:
        try:
            q.get(timeout=0.01)
        except BaseException:
            pass


def generator_that_swallows():
    def gen():
        while True:
            try:
                yield spin()
            except BaseException:
                pass

    while True:
        try:
            for _ in gen():
                pass
        except BaseException:
            pass


def swallow_in_the_handler():
    try:
        while True:
            spin()
    except BaseException:
        while True:
            try:
                spin()
            except BaseException:
                pass


def event_loop_that_swallows():
    async def main():
        while True:
            try:
                await asyncio.sleep(0.001)
            except BaseException:
                pass

    while True:
        try:
            asyncio.run(main())
        except BaseException:
            pass


def swallow_with_a_lock():
    lock = threading.Lock()
    while True:
        try:
            with lock:
                spin()
        except BaseException:
            pass


def swallow_and_raise_anew():
    while True:
        try:
            try:
                spin()
            except BaseException:
                raise ValueError from None
        except BaseException:
            try:
                spin()
            except BaseException:
                pass


SHAPES = [
    swallow_in_a_loop,
    loop_inside_try,
    tight_loop_inside_try,
    sleep_and_go_on,
    finally_continue,
    keep_the_exception,
    suppress,
    swallowing_exit,
    recursion_that_swallows,
    queue_with_timeout,
    generator_that_swallows,
    swallow_in_the_handler,
    event_loop_that_swallows,
    swallow_with_a_lock,
    swallow_and_raise_anew,
]
