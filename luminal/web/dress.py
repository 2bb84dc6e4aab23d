"""The page's style and script: both inline, each allowed by its digest alone."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE", "policy"]

STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfc;--card:#fff;--ink:#1b1f24;--soft:#57606a;
--line:#d8dee4;--good:#116329;--bad:#b42318;--mid:#8a4b00;--mark:#0550ae;
--blame:#ffebe9}
@media (prefers-color-scheme:dark){:root{--bg:#0f1318;--card:#171c23;--ink:#e6eaef;
--soft:#9aa6b2;--line:#2d3640;--good:#56d364;--bad:#ff8a80;--mid:#e3b341;
--mark:#79b8ff;--blame:#43201f}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,"DejaVu Sans",sans-serif}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.2rem}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.15rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:0 0 .2rem;overflow-wrap:anywhere}
p{margin:.2rem 0;overflow-wrap:anywhere}
.soft,time,footer{color:var(--soft)}
.sum{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:0;margin:.6rem 0;
list-style:none}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.3rem .6rem}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:.4rem 0 1rem;
list-style:none}
a{color:var(--mark)}
nav a{display:inline-block;padding:.3rem 0}
:focus-visible{outline:3px solid var(--mark);outline-offset:2px}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;
padding:1rem;margin:0 0 1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:.4rem}
th,td{text-align:left;padding:.35rem .7rem .35rem 0;vertical-align:top;
border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-weight:600;font-size:.875rem;
white-space:nowrap}
tbody th{font-weight:600;overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap}
.n+:not(.n){padding-left:.7rem}
time,.nowrap{white-space:nowrap}
.tall{max-height:32rem;overflow-y:auto}
.tall thead th{position:sticky;top:0;background:var(--card)}
.journal .minor{font-weight:400;color:var(--soft)}
td:not(.n){overflow-wrap:anywhere}
.tag{white-space:nowrap;font-weight:600}
.good{color:var(--good)}.bad{color:var(--bad)}.mid{color:var(--mid)}
code,pre{font:.875rem/1.5 ui-monospace,"DejaVu Sans Mono",monospace}
code{overflow-wrap:anywhere}
pre{overflow-x:auto;margin:.5rem 0;padding:.5rem;border:1px solid var(--line);
border-radius:.3rem}
pre b{display:inline-block;min-width:100%;font-weight:600;background:var(--blame)}
article{border-top:1px solid var(--line);padding:.7rem 0}
article:first-of-type{border-top:0;padding-top:0}
.lanes{display:grid;grid-template-columns:minmax(5rem,12rem) 1fr;gap:.3rem .8rem;
align-items:center;margin:.4rem 0 1rem;padding:0}
.legend{display:flex;flex-wrap:wrap;gap:0 1rem}
.legend .tag{white-space:normal}
.lanes span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.lanes svg{width:100%;height:1.3rem;display:block}
.lanes .ends{grid-column:2;display:flex;justify-content:space-between;gap:1rem}
svg path{stroke:var(--line);stroke-width:1px}
svg line{stroke-width:3px}
svg line.bad{stroke-width:6px}
line.good{stroke:var(--good)}line.bad{stroke:var(--bad)}line.mid{stroke:var(--mid)}
line.swap{stroke:var(--mark)}
.tag.swap{color:var(--mark)}
footer{padding-bottom:2rem;font-size:.875rem}
@media (max-width:40rem){
section{padding:.8rem}
.cards thead{position:absolute;left:-99rem}
.cards tr{display:flex;flex-wrap:wrap;gap:0 .8rem;padding:.5rem 0;
border-top:1px solid var(--line)}
.cards tbody tr:first-child{border-top:0}
.cards th,.cards td{border:0;padding:.05rem 0;text-align:left}
.cards td[data-of]::before{content:attr(data-of) " ";color:var(--soft);
font-size:.875rem}
.cards .all{flex-basis:100%}
.cards .nil{display:none}
.n+:not(.n){padding-left:0}
.journal td:empty{display:none}
.lanes{grid-template-columns:6rem 1fr}
.lanes .ends{grid-column:1/-1;flex-wrap:wrap;gap:0 1rem}
}
"""

SCRIPT = """
"use strict";
(() => {
  const says = document.getElementById("live");
  const local = (place) => place.querySelectorAll("time[datetime]").forEach((t) => {
    const at = new Date(t.getAttribute("datetime"));
    const day = at.toDateString() === new Date().toDateString();
    t.textContent = day ? at.toLocaleTimeString([], {hour12: false})
      : at.toLocaleString([], {hour12: false});
    t.title = t.getAttribute("datetime");
  });
  local(document);
  const from = document.body.dataset.events;
  if (!from || !window.EventSource) return;
  const say = (text) => {
    if (says.textContent !== text) says.textContent = text;
    says.className = text === "live" ? "good" : "mid";
  };
  // Only what differs is touched: focus, selection and scrolling stay.
  const match = (old, now) => {
    if (old.isEqualNode(now)) return;
    if (old.nodeName !== now.nodeName) { old.replaceWith(now); return; }
    if (old.nodeType !== 1) { old.data = now.data; return; }
    for (const a of [...old.attributes])
      if (!now.hasAttribute(a.name)) old.removeAttribute(a.name);
    for (const a of now.attributes)
      if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
    const was = [...old.childNodes], will = [...now.childNodes];
    will.forEach((node, i) => was[i] ? match(was[i], node) : old.append(node));
    was.slice(will.length).forEach((node) => node.remove());
  };
  const show = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const place = document.getElementById(id);
      if (!place) continue;
      const now = place.cloneNode(false);
      now.innerHTML = html;
      local(now);
      match(place, now);
    }
    document.title = document.querySelector("h1").textContent;
  };
  let news = null, again = 0;
  const stop = () => { clearTimeout(again); if (news) news.close(); news = null; };
  const listen = () => {
    stop();
    news = new EventSource(from);
    news.onopen = () => say("live");
    news.addEventListener("parts", show);
    news.onerror = () => {
      say("connection lost; trying again");
      // After an answer that is no stream, a browser does not try again by itself.
      if (news.readyState === 2) again = setTimeout(listen, 3000);
    };
  };
  // A browser has few connections to one server; a page that nobody sees needs none.
  const look = () => {
    if (!document.hidden) { listen(); return; }
    stop();
    say("paused while hidden");
  };
  document.addEventListener("visibilitychange", look);
  look();
})();
"""


def policy() -> str:
    """Return the Content-Security-Policy: this style, this script, nothing else."""
    import base64
    import hashlib

    def digest(text: str) -> str:
        sha = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{sha}'"

    return (
        f"default-src 'none'; style-src {digest(STYLE)}; script-src {digest(SCRIPT)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    )
