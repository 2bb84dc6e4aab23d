// Show times in the browser's time zone, and update the page by server-sent events.
"use strict";
(() => {
  const state = document.getElementById("live");

  const showLocalTimes = (element) => {
    for (const time of element.querySelectorAll("time[datetime]")) {
      const at = new Date(time.getAttribute("datetime"));
      const isToday = at.toDateString() === new Date().toDateString();
      time.textContent = isToday
        ? at.toLocaleTimeString([], { hour12: false })
        : at.toLocaleString([], { hour12: false });
      time.title = time.getAttribute("datetime");
    }
  };

  showLocalTimes(document);
  const url = document.body.dataset.events;
  if (!url || !window.EventSource) return;

  const showState = (text) => {
    if (state.textContent !== text) state.textContent = text;
    state.className = text === "live" ? "good" : "mid";
  };

  // Change only what differs, so that focus, selection and scrolling stay.
  const update = (old, now) => {
    if (old.isEqualNode(now)) return;
    if (old.nodeName !== now.nodeName) {
      old.replaceWith(now);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = now.data;
      return;
    }
    for (const attribute of [...old.attributes]) {
      if (!now.hasAttribute(attribute.name)) old.removeAttribute(attribute.name);
    }
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const oldChildren = [...old.childNodes];
    const newChildren = [...now.childNodes];
    newChildren.forEach((child, index) => {
      if (oldChildren[index]) update(oldChildren[index], child);
      else old.append(child);
    });
    oldChildren.slice(newChildren.length).forEach((child) => child.remove());
  };

  const showParts = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const old = document.getElementById(id);
      if (!old) continue;
      const now = old.cloneNode(false);
      now.innerHTML = html;
      showLocalTimes(now);
      update(old, now);
    }
    document.title = document.querySelector("h1").textContent;
  };

  let source = null;
  let timer = 0;

  const disconnect = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };

  const connect = () => {
    disconnect();
    source = new EventSource(url);
    source.onopen = () => showState("live");
    source.addEventListener("parts", showParts);
    source.onerror = () => {
      showState("connection lost; trying again");
      // A browser does not try again after an answer that is no event stream.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, 3000);
    };
  };

  // A browser has few connections to one server, so a hidden page holds none.
  const followVisibility = () => {
    if (document.hidden) {
      disconnect();
      showState("paused while hidden");
    } else {
      connect();
    }
  };

  document.addEventListener("visibilitychange", followVisibility);
  followVisibility();
})();
