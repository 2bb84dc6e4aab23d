# ruff: noqa: E501, ISC004 - texts
"""Changes that plant a capability into a module, each with the kind that it shows.

`GENERATED` are all ways of `WAYS` to all functions of `TARGETS`; `WRITTEN` were written
by hand; `MISSED` are known not to be found: the name is computed when the code runs.
"""

from __future__ import annotations

BASE = '''"""Says hello."""

import json


class Greeter:
    greeting = json.loads('"hello"')

    def greet(self, name):
        return f"{self.greeting} {name}"
'''

TARGETS = {
    "os.system": ("processes", "'true'"),
    "subprocess.run": ("processes", "['true']"),
    "socket.create_connection": ("network", "('localhost', 1)"),
    "webbrowser.open": ("network", "'http://localhost'"),
    "builtins.exec": ("code", "'pass'"),
    "ctypes.CDLL": ("native", "None"),
    "pickle.loads": ("unpickling", "b''"),
    "shutil.rmtree": ("writes", "'x'"),
    "sys.settrace": ("hooks", "None"),
}
"""Function → its kind, and its argument."""

WAYS = {
    "call": "import {m}\n{m}.{f}({a})",
    "import as": "import {m} as helper\nhelper.{f}({a})",
    "from import": "from {m} import {f}\n{f}({a})",
    "from import as": "from {m} import {f} as tidy\ntidy({a})",
    "from import star": "from {m} import *\n{f}({a})",
    "assignment": "import {m}\nfirst = {m}\nsecond = first.{f}\nsecond({a})",
    "getattr": "import {m}\ngetattr({m}, '{f}')({a})",
    "getattr of parts": "import {m}\nn = '{f}'[::-1]\ngetattr({m}, n[::-1])({a})",
    "vars": "import {m}\nvars({m})['{f}']({a})",
    "dict": "import {m}\n{m}.__dict__['{f}']({a})",
    "__import__": "__import__('{m}').{f}({a})",
    "import_module": "import importlib as i\ni.import_module('{m}').{f}({a})",
    "sys.modules": "import sys, {m}\nsys.modules['{m}'].{f}({a})",
    "function": "import {m}\ndef go():\n    return {m}.{f}({a})\ngo()",
    "method": "import {m}\nclass C:\n  def __init__(self):\n    self.go = {m}.{f}\n"
    "  def run(self):\n    self.go({a})\nC().run()",
    "class body": "import {m}\nclass C:\n    value = {m}.{f}({a})",
    "decorator": "import {m}\ndef deco(f):\n    {m}.{f}({a})\n    return f\n@deco\n"
    "def g(): pass",
    "default argument": "import {m}\ndef g(x={m}.{f}({a})): pass",
    "comprehension": "import {m}\nx = [{m}.{f}(each) for each in [{a}]]",
    "map": "import {m}\nlist(map({m}.{f}, [{a}]))",
    "lambda": "import {m}\n(lambda: {m}.{f}({a}))()",
    "table": "import {m}\ntable = {{'go': {m}.{f}}}\ntable['go']({a})",
    "argument": "import {m}\ndef call(f, x): f(x)\ncall({m}.{f}, {a})",
    "partial": "import functools, {m}\nfunctools.partial({m}.{f}, {a})()",
    "return value": "import {m}\ndef get(): return {m}.{f}\nget()({a})",
    "conditional import": "try:\n    import {m} as mod\nexcept ImportError:\n"
    "    mod = None\nif mod:\n    mod.{f}({a})",
    "thread": "import threading, {m}\n"
    "threading.Thread(target=lambda: {m}.{f}({a})).start()",
    "walrus": "import {m}\nif (go := {m}.{f}):\n    go({a})",
}

GENERATED = [
    (kind, way.format(m=target.rpartition(".")[0], f=target.rpartition(".")[2], a=arg))
    for target, (kind, arg) in TARGETS.items()
    for way in WAYS.values()
]

WRITTEN = [
    ("processes", "__builtins__.__import__('os').popen('true')"),
    ("processes", "import posix\nposix.system('true')"),
    ("processes", "import shutil\nshutil.os.system('true')"),
    ("processes", "import asyncio\nasync def main():\n    await "
     "asyncio.create_subprocess_exec('true')\nasyncio.run(main())"),
    ("processes", "import multiprocessing as mp\nmp.Process(target=print).start()"),
    ("processes", "import atexit, os\n@atexit.register\ndef bye():\n    os.fork()"),
    ("processes", "import os\nclass M(type):\n    def __new__(c, *a):\n"
     "        os.execv('/bin/true', [])\nclass C(metaclass=M): pass"),
    ("processes", "import os\nclass B:\n    def __init_subclass__(cls):\n"
     "        os.system('true')\nclass C(B): pass"),
    ("processes", "import os\nclass D:\n    def __set_name__(self, *a):\n"
     "        os.system('true')\nclass C:\n    d = D()"),
    ("processes", "import os\nclass C:\n    def __enter__(self): os.system('true')\n"
     "    def __exit__(self, *a): pass\nwith C(): pass"),
    ("processes", "import os\nclass C:\n    @property\n    def p(self):\n"
     "        return os.system('true')\nC().p"),
    ("processes", "import operator, os\noperator.attrgetter('system')(os)('true')"),
    ("processes", "import os\nos.__getattribute__('system')('true')"),
    ("processes", "import os\nobject.__getattribute__(os, 'system')('true')"),
    ("processes", "globals()['__builtins__']['__import__']('os').system('true')"),
    ("processes", "import os\ngetattr(os, ''.join(['sys', 'tem']))('true')"),
    ("processes", "import os\ngetattr(os, chr(115) + 'ystem')('true')"),
    ("processes", "import os, base64\n"
     "getattr(os, base64.b64decode(b'c3lzdGVt').decode())('true')"),
    ("processes", "from typing import TYPE_CHECKING\nTYPE_CHECKING = True\n"
     "if TYPE_CHECKING:\n    import os\n    os.system('true')"),
    ("processes", "__name__ = '__main__'\nif __name__ == '__main__':\n"
     "    import os\n    os.system('true')"),
    ("processes", "import sys, os\nif sys.platform == 'win32':\n    pass\nelse:\n"
     "    os.system('true')"),
    ("processes", "import os\nx = 1 if os.system('true') else 2"),
    ("processes", "import os\nassert not os.system('true')"),
    ("processes", "import os\ndef f(x: os.system('true')): pass"),
    ("processes", "import os\nmatch 1:\n    case 1:\n        os.system('true')"),
    ("network", "import urllib.request as r\nr.urlopen('http://localhost')"),
    ("network", "from http import client\nclient.HTTPSConnection('localhost')"),
    ("network", "import asyncio\nasync def main():\n"
     "    loop = asyncio.get_running_loop()\n"
     "    await loop.create_connection(print)\nasyncio.run(main())"),
    ("network", "import requests\nrequests.Session().get('http://localhost')"),
    ("network", "import socket\nclass S(socket.socket): pass\nS()"),
    ("network", "import socketserver\nsocketserver.TCPServer(('', 1), print)"),
    ("network", "from smtplib import SMTP as S\nwith S('localhost') as s: pass"),
    ("code", "exec(compile('pass', 'x', 'exec'))"),
    ("code", "import types\ntypes.FunctionType((lambda: 1).__code__, {})()"),
    ("code", "import marshal\nmarshal.loads(b'')"),
    ("code", "import importlib.util as u\nu.spec_from_file_location('x', 'x.txt')"),
    ("code", "import runpy\nrunpy.run_path('x.txt')"),
    ("code", "import os, sys\ngetattr(os, sys.argv[0])"),
    ("code", "print.__self__.exec('pass')"),
    ("native", "from ctypes import cdll\ncdll.LoadLibrary('libc.so.6')"),
    ("native", "import ctypes\nctypes.pythonapi.Py_IncRef(1)"),
    ("writes", "open('x', 'w').close()"),
    ("writes", "from pathlib import Path\nPath('x').write_text('y')"),
    ("writes", "from pathlib import Path\n(Path('x') / 'y').unlink()"),
    ("writes", "import os\nos.open('x', os.O_WRONLY | os.O_CREAT)"),
    ("writes", "import io\nwith io.open('x', mode='ab') as f: pass"),
    ("writes", "import zipfile\nzipfile.ZipFile('x').extractall()"),
    ("paths", "KEY = '~/.ssh/id_rsa'"),
    ("paths", "import os\nKEY = os.path.join('~', '.aws', 'credentials')"),
    ("paths", "KEY = '/etc/' + 'shadow'"),
    ("paths", "URL = f'http://169.254.{169}.254/'\nURL = 'http://169.254.' + '169.254'"),
    ("unpickling", "import pickle\npickle.Unpickler(open('x', 'rb')).load()"),
    ("unpickling", "import yaml\nyaml.load('x')"),
    ("unpickling", "import shelve\nshelve.open('x')"),
    ("hooks", "import sys\nsys.meta_path.insert(0, None)"),
    ("hooks", "import sys\nsys.meta_path += [None]"),
    ("hooks", "import sys\nfinders = sys.meta_path\nfinders[:] = []"),
    ("hooks", "import sys\nsys.excepthook = print"),
    ("hooks", "import sys\nsys.path.append('/tmp')"),
    ("hooks", "import threading as t\nt.setprofile(print)"),
    ("hooks", "import site\nsite.addsitedir('/tmp')"),
    ("patches", "import json\njson.dumps = print"),
    ("patches", "import builtins\nsetattr(builtins, 'open', print)"),
    ("patches", "import builtins\nvars(builtins)['open'] = print"),
    ("patches", "import sys\nsys.modules['json'] = None"),
    ("patches", "from unittest import mock\nmock.patch('json.dumps').start()"),
]  # fmt: skip

MISSED = [
    "import os\nfor n in dir(os):\n    if len(n) == 6 and n[0] == 's':\n"
    "        os.__dict__.get(n)('true')",
    "().__class__.__base__.__subclasses__()[-1]('true')",
    "(lambda: 0).__globals__['__builtins__']['exec']('pass')",
    "def go(o): o.run(['true'])\nimport subprocess\nthings = [subprocess]\n"
    "[thing] = zip(*[things])\ngo(thing)",
    "import importlib\nm = importlib.import_module(''.join(map(chr, [111, 115])))\n"
    "m.system('true')",
    "import json\nget = lambda a: a\nget.__code__ = json.loads.__code__",
]
"""Names that are made when the code runs: the text does not have them."""
