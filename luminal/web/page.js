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
        const ask = (headers) =>
          fetch(`${actions}/${act}?photon=${encodeURIComponent(photon)}`, {
            method: "POST",
            headers: { "X-Luminal-Token": token, ...headers },
          });
        let answer = await ask({});
        if (answer.status === 401) {
          // The host asks for a second factor.
          const { nonce } = await answer.json();
          const code = prompt(`Code to ${act} ${photon}:`) ?? "";
          answer = await ask({ "X-Luminal-Nonce": nonce, "X-Luminal-Code": code });
        }
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

  // Plots: the server keeps the points, and adds one when it is asked.
  const plots = document.body.dataset.plots;
  const EVERY = 2000;
  const GAP = 10; // Seconds after which a line is broken: nobody looked meanwhile.

  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) {
      made.setAttribute(key, value);
    }
    return made;
  };

  const element = (name, text, style) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (style) made.className = style;
    return made;
  };

  const asNumber = (value) =>
    value === 0 ? "0" : value < 100 ? value.toFixed(1) : Math.round(value).toString();

  const asTime = (seconds) => {
    for (const [unit, factor] of [["s", 1], ["ms", 1e3], ["µs", 1e6], ["ns", 1e9]]) {
      const value = seconds * factor;
      if (value >= 1) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
    }
    return "none";
  };

  const figure = (title, points, lines, asText) => {
    const made = element("figure");
    const caption = element("figcaption");
    caption.append(element("b", title));
    const first = points[0].at;
    const whole = Math.max(points.at(-1).at - first, 1);
    const values = points.flatMap((point) => lines.map((line) => line.of(point)));
    const top = Math.max(...values.filter((value) => value !== null), 0);
    const picture = svg("svg", {
      viewBox: "0 0 300 100",
      preserveAspectRatio: "none",
      role: "img",
    });
    const said = [];
    for (const { name, style, of } of lines) {
      let d = "";
      let last = null;
      for (const point of points) {
        const value = of(point);
        if (value === null) {
          last = null;
          continue;
        }
        const x = (300 * (point.at - first)) / whole;
        const y = 97 - (94 * value) / (top || 1);
        const isBroken = last === null || point.seconds > GAP;
        // A point alone is a short line, as it would not be seen.
        const lone = isBroken ? `M${Math.max(x - 2, 0).toFixed(1)} ${y.toFixed(1)}` : "";
        d += `${lone}L${x.toFixed(1)} ${y.toFixed(1)}`;
        last = value;
      }
      picture.append(svg("path", { d, class: style, "vector-effect": "non-scaling-stroke" }));
      const text = `${name ? `${name} ` : ""}${last === null ? "none" : asText(last)}`;
      caption.append(element("span", text, name ? style : ""));
      said.push(text);
    }
    picture.setAttribute("aria-label", `${title}: now ${said.join(", ")}; highest ${asText(top)}`);
    const axis = element("div", undefined, "axis");
    const time = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });
    axis.append(
      element("span", time(first)),
      element("span", `highest ${asText(top)}`),
      element("span", time(points.at(-1).at)),
    );
    made.append(caption, picture, axis);
    return made;
  };

  const perSecond = (key) => (point) => (point.seconds ? point[key] / point.seconds : null);
  const ifTimed = (key) => (point) => (point.timed ? point[key] : null);

  const plot = (points) => {
    const place = document.getElementById("plots");
    const now = place.cloneNode(false);
    const { calls, errors } = points.at(-1);
    const sum = element("p", `${calls} calls, ${errors} errors in all`);
    sum.id = "totals";
    if (points.length < 2) {
      now.append(sum);
    } else {
      const times = [
        { name: "p50", style: "good", of: ifTimed("p50") },
        { name: "p95", style: "mark", of: ifTimed("p95") },
      ];
      now.append(
        figure("Calls a second", points, [{ style: "mark solid", of: perSecond("new_calls") }], asNumber),
        figure("Errors a second", points, [{ style: "bad", of: perSecond("new_errors") }], asNumber),
        figure("Call time", points, times, asTime),
        sum,
      );
    }
    update(place, now);
  };

  let plotTimer = 0;

  const follow = async () => {
    clearTimeout(plotTimer);
    if (!plots || document.hidden) return;
    try {
      const answer = await fetch(plots);
      if (answer.ok) plot((await answer.json()).points);
    } catch {
      // The line above says that the connection is lost.
    }
    clearTimeout(plotTimer);
    plotTimer = setTimeout(follow, EVERY);
  };

  document.addEventListener("visibilitychange", follow);
  follow();

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
