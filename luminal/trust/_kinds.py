"""What a text may do to the world: kinds of capability, and the names that show them.

The names are those of the standard library and of common libraries. A name that is not
here shows nothing, so a profile says what a text names, not what it can do.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache
from typing import Self

__all__ = ["CALLERS", "SENSITIVE", "Kind", "canonical", "kind_of", "kind_of_assignment"]


class Kind(enum.StrEnum):
    """A kind of capability.

    Attributes:
        meaning: What a text does that has it, as a verb and an object.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make the member of *value*."""
        member = str.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member

    NETWORK = "network", "opens sockets"
    PROCESSES = "processes", "starts or signals processes"
    CODE = "code", "runs code that is made at run time"
    NATIVE = "native", "loads native code"
    WRITES = "writes", "writes files"
    PATHS = "paths", "names sensitive paths"
    UNPICKLING = "unpickling", "unpickles"
    HOOKS = "hooks", "installs interpreter or import hooks"
    PATCHES = "patches", "changes other modules"


SENSITIVE = re.compile(
    r"""
      (^|[/\\~])\.(ssh|aws|gnupg|netrc|pypirc|kube|docker|git-credentials|pgpass
          |bash_history|zsh_history|bashrc|zshrc|bash_profile|mozilla|password-store)
          (?![\w-])
    | \bid_(rsa|dsa|ecdsa|ed25519)\b | \bauthorized_keys\b
    | /etc/(passwd|shadow|sudoers|cron|profile|ld\.so\.preload) | /var/spool/cron
    | /proc/(self|\d+|1)/(environ|mem|maps) | /var/run/docker\.sock
    | \bLogin\ Data\b | \bwallet\.dat\b | \bkey[34]\.db\b | \bcookies\.sqlite\b
    | 169\.254\.169\.254
    | \b(site|user)customize\.py\b
    """,
    re.VERBOSE,
)
"""Paths that hold secrets of a user or a machine, or that start programs."""

_MODULES = {
    "posix": "os",
    "nt": "os",
    "_socket": "socket",
    "_io": "io",
    "_pickle": "pickle",
    "cPickle": "pickle",
    "_ctypes": "ctypes",
    "_winapi": "_winapi",
    "__builtin__": "builtins",
    "__builtins__": "builtins",
    "pathlib._local": "pathlib",
}
"""Module → the one that the tables name instead."""


def _names(text: str) -> list[str]:
    """Return ``a.b`` and ``a.c`` for a line ``a b c``."""
    found = []
    for line in text.splitlines():
        module, *names = line.split() or [""]
        found += [f"{module}.{name}" for name in names]
    return found


_CALLS: dict[str, Kind] = {}
"""Dotted name → what calling it shows."""

for _kind, _text in {
    Kind.NETWORK: """
        socket socket create_connection create_server fromfd getaddrinfo SocketType
        socket gethostbyname gethostbyname_ex gethostbyaddr getnameinfo
        asyncio open_connection start_server open_unix_connection start_unix_server
        urllib.request urlopen urlretrieve build_opener install_opener URLopener
        http.client HTTPConnection HTTPSConnection
        http.server HTTPServer ThreadingHTTPServer
        socketserver TCPServer UDPServer ThreadingTCPServer ThreadingUDPServer
        socketserver UnixStreamServer UnixDatagramServer
        ftplib FTP FTP_TLS
        smtplib SMTP SMTP_SSL LMTP
        poplib POP3 POP3_SSL
        imaplib IMAP4 IMAP4_SSL IMAP4_stream
        nntplib NNTP NNTP_SSL
        telnetlib Telnet
        xmlrpc.client ServerProxy Server
        xmlrpc.server SimpleXMLRPCServer
        wsgiref.simple_server make_server
        ssl get_server_certificate wrap_socket
        logging.handlers SocketHandler DatagramHandler HTTPHandler SMTPHandler
        logging.handlers SysLogHandler
        multiprocessing.connection Client Listener
        webbrowser open open_new open_new_tab get
        requests get post put delete patch head options request Session session
        httpx get post put delete patch head options request stream Client
        httpx AsyncClient
        aiohttp ClientSession request
        urllib3 PoolManager ProxyManager HTTPConnectionPool HTTPSConnectionPool request
        urllib3 proxy_from_url connection_from_url
        websockets connect serve
        websocket create_connection WebSocketApp WebSocket
        paramiko SSHClient Transport
        pycurl Curl
        dns.resolver resolve query Resolver
        grpc insecure_channel secure_channel
        boto3 client resource Session
        redis Redis StrictRedis from_url
        zmq Context
        trio open_tcp_stream open_ssl_over_tcp_stream serve_tcp
        anyio connect_tcp create_tcp_listener
    """,
    Kind.PROCESSES: """
        os system popen execl execle execlp execlpe execv execve execvp execvpe
        os spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe
        os posix_spawn posix_spawnp fork forkpty startfile kill killpg
        subprocess run Popen call check_call check_output getoutput getstatusoutput
        _posixsubprocess fork_exec
        _winapi CreateProcess
        pty spawn fork
        commands getoutput getstatusoutput
        multiprocessing Process Pool Manager
        multiprocessing.pool Pool
        concurrent.futures ProcessPoolExecutor
        concurrent.futures.process ProcessPoolExecutor
        asyncio create_subprocess_exec create_subprocess_shell
        asyncio.subprocess create_subprocess_exec create_subprocess_shell
        trio run_process
        anyio run_process open_process
        pexpect spawn run
        sh Command
        psutil Popen
        context process
    """,
    Kind.CODE: """
        builtins exec eval compile
        code InteractiveInterpreter InteractiveConsole interact
        codeop compile_command
        runpy run_path run_module
        types FunctionType CodeType
        marshal load loads
        importlib.util spec_from_file_location
        importlib.machinery SourceFileLoader SourcelessFileLoader
        imp load_source load_compiled load_module
        timeit timeit repeat
        cloudpickle loads
    """,
    Kind.NATIVE: """
        ctypes CDLL PyDLL WinDLL OleDLL dlopen LoadLibrary
        cdll LoadLibrary
        windll LoadLibrary
        pydll LoadLibrary
        numpy.ctypeslib load_library
        importlib.machinery ExtensionFileLoader
        imp load_dynamic
        _imp create_dynamic exec_dynamic
        cffi FFI
    """,
    Kind.WRITES: """
        os remove unlink rename renames replace rmdir removedirs mkdir makedirs link
        os symlink chmod lchmod chown lchown truncate mknod mkfifo utime
        shutil rmtree move copy copy2 copyfile copytree copymode copystat chown
        shutil unpack_archive make_archive
        tempfile mkstemp mkdtemp NamedTemporaryFile TemporaryDirectory TemporaryFile
        tempfile SpooledTemporaryFile
        logging FileHandler
        logging.handlers RotatingFileHandler TimedRotatingFileHandler WatchedFileHandler
        sqlite3 connect
        dbm open
    """,
    Kind.UNPICKLING: """
        pickle load loads Unpickler _Unpickler
        dill load loads Unpickler
        cloudpickle load
        joblib load
        shelve open Shelf DbfilenameShelf
        yaml unsafe_load unsafe_load_all full_load full_load_all UnsafeLoader
        torch load
        pandas read_pickle
        jsonpickle decode
        jsonpickle loads
    """,
    Kind.HOOKS: """
        sys settrace setprofile addaudithook _setprofileallthreads _settraceallthreads
        sys set_asyncgen_hooks
        threading settrace setprofile settrace_all_threads setprofile_all_threads
        sys.monitoring use_tool_id register_callback
        site addsitedir
        codecs register
        os register_at_fork
    """,
    Kind.PATCHES: """
        unittest.mock patch
        mock patch
        patch object dict multiple
    """,
}.items():
    _CALLS |= dict.fromkeys(_names(_text), _kind)

_LISTS = ("meta_path", "path_hooks", "path")
_CALLS |= {
    f"sys.{of}.{method}": Kind.HOOKS
    for of in _LISTS
    for method in ("append", "insert", "extend", "remove", "pop", "clear", "__iadd__")
}
_CALLS |= {
    f"sys.modules.{method}": Kind.PATCHES
    for method in ("update", "setdefault", "pop", "clear")
}

_METHODS = {
    **dict.fromkeys(
        (
            *(
                "create_connection",
                "create_unix_connection",
                "create_datagram_endpoint",
            ),
            *("sock_connect", "urlopen", "urlretrieve", "wrap_socket"),
        ),
        Kind.NETWORK,
    ),
    **dict.fromkeys(("subprocess_exec", "subprocess_shell"), Kind.PROCESSES),
    **dict.fromkeys(("exec_module", "load_module"), Kind.CODE),
    **dict.fromkeys(("dlopen", "LoadLibrary"), Kind.NATIVE),
    **dict.fromkeys(("write_text", "write_bytes", "extractall"), Kind.WRITES),
}
"""Method of an unknown object → what calling it shows: names that nothing else has."""

_CERTAIN = frozenset(
    [
        "os",
        "subprocess",
        "socket",
        "builtins",
        "ctypes",
        "cdll",
        "shutil",
        "pickle",
        "marshal",
        "context",
    ]
)
"""Names that mean the module (or a photon's context) also in an unknown object."""

_OF_PATHS = frozenset(
    [
        "unlink",
        "touch",
        "mkdir",
        "rmdir",
        "rename",
        "replace",
        "symlink_to",
        "hardlink_to",
        "chmod",
        "lchmod",
        "copy",
        "copy_into",
        "move",
        "move_into",
    ]
)
"""Methods of `pathlib.Path` that write."""

CALLERS = frozenset(
    [
        "map",
        "filter",
        "sorted",
        "min",
        "max",
        "reduce",
        "submit",
        "run_in_executor",
        "call_soon",
        "call_later",
        "call_soon_threadsafe",
        "call_at",
        "add_done_callback",
        "Thread",
        "Timer",
        "start_new_thread",
        "to_thread",
        "apply",
        "apply_async",
        "starmap",
        "starmap_async",
        "imap",
        "imap_unordered",
        "atexit.register",
        "weakref.finalize",
        "trio.run",
        "anyio.run",
    ]
)
"""Functions that call what they are given: dotted names, or last names."""

_HOOKS_OF_SYS = frozenset(
    [
        "meta_path",
        "path_hooks",
        "path",
        "excepthook",
        "displayhook",
        "unraisablehook",
        "breakpointhook",
        "__excepthook__",
        "path_importer_cache",
    ]
)


def canonical(module: str) -> str:
    """Return the name that the tables have of *module*."""
    if module in _MODULES:
        return _MODULES[module]
    first, dot, rest = module.partition(".")
    return _MODULES[first] + dot + rest if first in _MODULES else module


@lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind | None:
    """Return what a call of the dotted *name* shows, or None.

    What an object's attribute leads to is known by its last two names, so that
    ``shutil.os.system`` is ``os.system``. ``()`` stands for the result of a call, and
    ``?`` for an object that is not known.
    """
    kind = _CALLS.get(name)
    parts = name.split(".")
    if kind is None and len(parts) > 2:
        module = canonical(parts[-2])
        is_known = parts[0] != "?" and "()" not in name
        if is_known or module in _CERTAIN:
            kind = _CALLS.get(f"{module}.{parts[-1]}")
            kind = kind or _CALLS.get(".".join(parts[-3:]))
    if kind is None and len(parts) > 1:
        kind = _METHODS.get(parts[-1])
        if kind is None and parts[0] == "pathlib" and parts[-1] in _OF_PATHS:
            kind = Kind.WRITES
    return kind


def kind_of_assignment(receiver: str, attribute: str) -> Kind | None:
    """Return what ``receiver.attribute = value`` shows, or None.

    Args:
        receiver: Dotted name of a module or of something in one.
        attribute: Name of the attribute.
    """
    if "()" in receiver or "?" in receiver or receiver == "":
        return None  # an object that the text has made
    if receiver == "sys" and attribute in _HOOKS_OF_SYS:
        return Kind.HOOKS
    return Kind.PATCHES
