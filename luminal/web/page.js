// Show times in the browser's time zone, filter and sort photons, update the page by
// server-sent events, and ask for reloads where the page may.
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
      // What somebody has opened stays open.
      const stays = attribute.name === "open";
      if (!stays && !now.hasAttribute(attribute.name)) {
        old.removeAttribute(attribute.name);
      }
    }
    // A photon that begins to fail opens.
    if (old.dataset.failing === "0" && now.dataset.failing === "1") {
      for (const details of old.querySelectorAll("details")) details.open = true;
    }
    for (const { name, value } of now.attributes) {
      if (name === "open") continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    // What has an id is the same thing wherever it is now; other children by position.
    const known = new Map([...old.children].map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const child of [...now.childNodes]) {
      const same = child.id ? known.get(child.id) : at && !at.id && at;
      if (same && same === at) at = at.nextSibling;
      else old.insertBefore(same || child, at);
      if (same) update(same, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  // Filter and sort. The choice stands in the address, so that it can be passed on.
  const filter = document.getElementById("filter");

  const arrange = (part) => {
    const table = part.querySelector("table");
    if (!table) return;
    const { q, state, sort } = Object.fromEntries(new FormData(filter));
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    const bodies = [...table.tBodies];
    let shown = 0;
    for (const body of bodies) {
      const { text, state: is, failing } = body.dataset;
      const fits = !state || is === state || (state === "failing" && failing === "1");
      body.hidden = !fits || !words.every((word) => text.includes(word));
      if (!body.hidden) shown += 1;
    }
    if (sort === "name") {
      bodies.sort((a, b) => a.dataset.name.localeCompare(b.dataset.name));
    } else if (sort) {
      bodies.sort((a, b) => b.dataset[sort] - a.dataset[sort]);
    }
    bodies.forEach((body) => table.append(body));
    const all = shown === bodies.length;
    document.getElementById("count").textContent = all
      ? ""
      : `${shown} of ${bodies.length} are shown`;
  };

  const photons = document.getElementById("photons-part");
  // As the server has sent them: "failing first" is its order.
  let original = photons.cloneNode(true);

  const rearrange = () => {
    const now = original.cloneNode(true);
    showLocalTimes(now);
    arrange(now);
    update(photons, now);
    const chosen = new URLSearchParams();
    for (const [key, value] of new FormData(filter)) if (value) chosen.set(key, value);
    const query = chosen.size ? `?${chosen}` : "";
    try {
      history.replaceState(null, "", location.pathname + query + location.hash);
    } catch {
      // A file's address cannot be changed in every browser.
    }
  };

  // A link to a photon opens its details.
  const openTarget = () => {
    const target = document.getElementById(location.hash.slice(1));
    const details = target?.querySelector?.("details");
    if (details) details.open = true;
    target?.scrollIntoView?.();
  };

  // The token stands behind the # of the address that the host has printed. It is never
  // sent but with a request that changes something.
  const actions = document.body.dataset.actions;
  const store = "luminal-token " + actions;
  if (actions && location.hash.startsWith("#token=")) {
    sessionStorage.setItem(store, decodeURIComponent(location.hash.slice(7)));
    history.replaceState(null, "", location.pathname + location.search);
  }
  const token = actions && sessionStorage.getItem(store);
  if (token) {
    document.body.classList.add("can-act");
    document.getElementById("rights").textContent = "May reload and roll back.";
    document.addEventListener("click", async (event) => {
      const button = event.target.closest("button[data-act]");
      if (!button) return;
      const { act, photon } = button.dataset;
      const message = document.getElementById("message");
      button.disabled = true;
      message.textContent = `${photon}: ${act} …`;
      message.className = "";
      try {
        const answer = await fetch(
          `${actions}/${act}?photon=${encodeURIComponent(photon)}`,
          { method: "POST", headers: { "X-Luminal-Token": token } },
        );
        message.textContent = `${photon}: ${await answer.text()}`;
        message.className = answer.ok ? "good" : "bad";
      } catch (error) {
        message.textContent = `${photon}: ${error}`;
        message.className = "bad";
      }
      button.disabled = false;
    });
  }

  showLocalTimes(document);
  for (const [key, value] of new URLSearchParams(location.search)) {
    if (filter.elements[key]) filter.elements[key].value = value;
  }
  filter.hidden = false;
  filter.addEventListener("input", () => rearrange());
  filter.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", openTarget);
  if (location.search) rearrange();
  openTarget();
  const url = document.body.dataset.events;
  if (!url || !window.EventSource) return;

  const showState = (text) => {
    if (state.textContent !== text) state.textContent = text;
    state.className = text === "live" ? "good" : "mid";
  };

  const showParts = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const old = document.getElementById(id);
      if (!old) continue;
      const now = old.cloneNode(false);
      now.innerHTML = html;
      if (id === "photons-part") original = now.cloneNode(true);
      showLocalTimes(now);
      if (id === "photons-part") arrange(now);
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
