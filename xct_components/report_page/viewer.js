// The viewer of report.html: unpacks the volumes of the page, shows them with NiiVue, and says where the crosshair is.
(async () => {
  "use strict";
  const byId = (name) => document.getElementById(name);
  const root = document.documentElement;
  const facts = JSON.parse(byId("facts").textContent);
  const SCALE_BAR_MM = facts.scale_bar_mm;
  const ACCENT = [0.36, 0.78, 1, 1], ALERT = [1, 0.71, 0.33, 1], SHADOW = [0, 0, 0, 0.75];
  // Patient sides at the left, right, upper and lower edge of an axial, coronal and sagittal plane.
  const SIDES = ["RLAP", "RLHF", "APHF"];
  // NiiVue's opacity by HU for the solid: what is seen, and between which HU.
  const SOLIDS = {
    body: { min: -500, max: 250, R: [0, 176, 224, 255], G: [0, 132, 178, 244], B: [0, 112, 150, 232], A: [0, 10, 60, 150], I: [0, 90, 170, 255] },
    bone: { min: 60, max: 500, R: [0, 120, 214, 255], G: [0, 96, 192, 250], B: [0, 78, 160, 238], A: [0, 8, 70, 180], I: [0, 70, 150, 255] },
    lung: { min: -960, max: -350, R: [0, 70, 120, 190, 0], G: [0, 140, 190, 225, 0], B: [0, 190, 235, 245, 0], A: [0, 2, 12, 30, 0], I: [0, 40, 120, 200, 255] },
  };

  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // The inverse of packed() in embedded_volume.py.
  async function unpacked(name) {
    const stream = new Blob([bytesOf(byId(`voxels-${name}`).textContent)]).stream();
    const bytes = new Uint8Array(await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
    const [planes, rows, cols] = facts.volumes[name].shape;
    const count = planes * rows * cols, plane = rows * cols;
    const steps = new Int16Array(count);
    for (let at = 0; at < count; at += 1) {
      const folded = bytes[at] | (bytes[count + at] << 8);
      steps[at] = ((folded >>> 1) ^ -(folded & 1)) + (at < plane ? 0 : steps[at - plane]);
    }
    return { header: bytesOf(facts.volumes[name].header), steps, shape: [planes, rows, cols] };
  }

  function niftiOf({ header, steps }) {
    const file = new Uint8Array(header.length + steps.byteLength);
    file.set(header);
    file.set(new Uint8Array(steps.buffer), header.length);
    return file.buffer;
  }

  // Means of 2 x 2 x 2 voxels for the solid: an eighth of the work, and less noise on its surface.
  function halved({ header, steps, shape }) {
    if (Math.min(...shape) <= 128) return { header, steps, shape };
    const [planes, rows, cols] = shape, small = shape.map((size) => size >> 1);
    const means = new Int16Array(small[0] * small[1] * small[2]);
    let to = 0;
    for (let d = 0; d < 2 * small[0]; d += 2) for (let h = 0; h < 2 * small[1]; h += 2) for (let w = 0; w < 2 * small[2]; w += 2) {
      let sum = 0;
      for (let corner = 0; corner < 8; corner += 1) {
        sum += steps[((d + (corner >> 2)) * rows + h + ((corner >> 1) & 1)) * cols + w + (corner & 1)];
      }
      means[to++] = Math.round(sum / 8);
    }
    const copy = header.slice(), view = new DataView(copy.buffer);
    small.forEach((size, axis) => view.setInt16(42 + 2 * (2 - axis), size, true));
    for (const at of [80, 84, 88]) view.setFloat32(at, 2 * view.getFloat32(at, true), true);
    for (let row = 0; row < 3; row += 1) {
      const at = 280 + 16 * row, steps3 = [0, 4, 8].map((byte) => view.getFloat32(at + byte, true));
      view.setFloat32(at + 12, view.getFloat32(at + 12, true) + (steps3[0] + steps3[1] + steps3[2]) / 2, true);
      steps3.forEach((step, column) => view.setFloat32(at + 4 * column, 2 * step, true));
    }
    view.setInt16(252, 0, true);
    return { header: copy, steps: means, shape: small };
  }

  const imageOf = (volume, name, colours, low, high) =>
    niivue.NVImage.new(niftiOf(volume), `${name}.nii`, colours, 1, null, low, high, true);

  // A viewer that draws nothing until start(), as each drawing of a half-made scene costs as much as one of the whole; then
  // the marks after every picture, into the same canvas: they are part of what is saved or copied.
  async function attached(canvas, options, mark) {
    const viewer = new niivue.Niivue({ ...OPTIONS, ...options });
    const plain = viewer.drawScene.bind(viewer);
    let started = false;
    viewer.drawScene = () => {
      if (!started) return "";
      const said = plain();
      mark(viewer);
      return said;
    };
    viewer.start = () => {
      started = true;
      viewer.drawScene();
    };
    await viewer.attachToCanvas(canvas);
    return viewer;
  }

  function write(viewer, text, x, y, colour, size) {
    const scale = size * (window.devicePixelRatio || 1) / viewer.fontPx;
    const width = viewer.textWidth(viewer.fontPx * scale, text);
    const place = [x(width), y(viewer.fontPx * scale)];
    viewer.drawText([place[0] + 1, place[1] + 1], text, scale, SHADOW);
    viewer.drawText(place, text, scale, colour);
  }

  function markTile(viewer, left, top, width, height, sides, pixelsPerMm) {
    const dpr = window.devicePixelRatio || 1, edge = 8 * dpr, small = width < 330 * dpr ? 9 : 11;
    write(viewer, facts.warning, () => left + edge, (size) => top + height - edge - size, ALERT, small);
    if (!sides) return;
    write(viewer, sides[0], () => left + edge, (size) => top + height / 2 - size * 1.4, ACCENT, 16);
    write(viewer, sides[1], (size) => left + width - edge - size, (size) => top + height / 2 - size * 1.4, ACCENT, 16);
    write(viewer, sides[2], () => left + width / 2 + edge, () => top + edge, ACCENT, 16);
    write(viewer, sides[3], () => left + width / 2 + edge, (size) => top + height - 3 * edge - size, ACCENT, 16);
    const right = left + width - edge, low = top + height - edge;
    viewer.drawLine([right - SCALE_BAR_MM * pixelsPerMm, low, right, low], 3 * dpr, ACCENT);
    write(viewer, `${SCALE_BAR_MM} mm`, (size) => right - SCALE_BAR_MM * pixelsPerMm / 2 - size / 2, (size) => low - 4 * dpr - size, ACCENT, 11);
  }

  function markPlanes(viewer) {
    viewer.gl.viewport(0, 0, viewer.gl.canvas.width, viewer.gl.canvas.height);
    viewer.screenSlices.forEach((tile, number) => {
      const [left, top, width, height] = tile.leftTopWidthHeight;
      if (tile.axCorSag > 2) return;
      // Measured on the picture itself, whatever its zoom: the way in mm between two pixels.
      const ends = [0.4, 0.6].map((share) => viewer.screenXY2mm(left + share * width, top + height / 2, number));
      const mm = Math.hypot(...[0, 1, 2].map((axis) => ends[1][axis] - ends[0][axis]));
      markTile(viewer, left, top, width, height, SIDES[tile.axCorSag], 0.2 * width / mm);
    });
  }

  function markSolid(viewer) {
    const { width, height } = viewer.gl.canvas;
    viewer.gl.viewport(0, 0, width, height);
    markTile(viewer, 0, 0, width, height, null, 0);
  }

  const OPTIONS = {
    backColor: [0.02, 0.024, 0.035, 1], crosshairColor: [0.36, 0.78, 1, 0.8],
    crosshairWidth: 0.8, crosshairWidthUnit: "mm", crosshairGap: 12,
    isOrientationTextVisible: false, isRadiologicalConvention: true, sagittalNoseLeft: true, dragAndDropEnabled: false,
    loadingText: "", logLevel: "error", isSliceMM: true, show3Dcrosshair: false, fontMinPx: 12,
  };

  const side = (mm, positive, negative) => `${mm >= 0 ? positive : negative} ${Math.abs(mm).toFixed(1)} mm`;

  const valueAt = (image, mm) => Math.round(image.getValue(...image.mm2vox(mm)));

  function tell(mm, shown, std) {
    byId("at-x").textContent = side(mm[0], "R", "L");
    byId("at-y").textContent = side(mm[1], "A", "P");
    byId("at-z").textContent = side(mm[2], "H", "F");
    byId("hu").textContent = `${valueAt(shown, mm)} HU${std ? ` \u00b1 ${valueAt(std, mm)}` : ""}`;
  }

  function goTo(viewer, mm) {
    viewer.scene.crosshairPos = viewer.mm2frac(mm, 0, true);
    viewer.createOnLocationChange();
    viewer.drawScene();
  }

  function press(buttons, chosen) {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));
  }

  // The first is chosen from the start.
  function choices(buttons, act) {
    for (const button of buttons) button.addEventListener("click", () => { press(buttons, button); act(button); });
    press(buttons, buttons[0]);
  }

  function onKeys(canvas, act) {
    for (const kind of ["keydown", "keyup"]) {
      canvas.addEventListener(kind, (event) => {
        if (event.key === "Tab") return;
        event.stopImmediatePropagation();
        if (kind === "keydown" && act(event.key, event.shiftKey)) event.preventDefault();
      }, true);
    }
  }

  async function showPlanes(ct, std) {
    const viewer = await attached(byId("planes"), { multiplanarShowRender: 0, dragMode: 2, tileMargin: 0 }, markPlanes);
    // The deviation is that of the mean alone.
    viewer.onLocationChange = (location) => tell(location.mm, viewer.volumes[0], viewer.volumes[0] === ct ? std : null);
    viewer.addVolume(ct);
    const narrow = window.matchMedia("(max-width: 760px)");
    const layOut = () => viewer.setMultiplanarLayout(narrow.matches ? 1 : 3);
    narrow.addEventListener("change", layOut);
    layOut();
    return viewer;
  }

  function connectPlanes(planes) {
    const windows = [...document.querySelectorAll("[data-window]")];
    choices(windows, (button) => {
      [planes.volumes[0].cal_min, planes.volumes[0].cal_max] = facts.presets[button.dataset.window];
      planes.updateGLVolume();
    });
    const shows = [...document.querySelectorAll("[data-show]")];
    const kinds = { all: 3, axial: 0, coronal: 1, sagittal: 2 };
    choices(shows, (button) => {
      byId("planes").parentElement.classList.toggle("one", button.dataset.show !== "all");
      planes.setSliceType(kinds[button.dataset.show]);
      planes.resizeListener();
    });
  }

  // The deviation is laid over the planes only once it is asked for: that is a second volume for the graphics card.
  function connectStd(planes, std) {
    const toggle = byId("std-toggle"), opacity = byId("std-opacity");
    const isOn = () => toggle.getAttribute("aria-pressed") === "true";
    const lay = () => {
      std.opacity = isOn() ? Number(opacity.value) / 100 : 0;
      if (planes.volumes.length > 1) planes.updateGLVolume();
      else if (isOn()) planes.addVolume(std);
    };
    toggle.addEventListener("click", () => {
      toggle.setAttribute("aria-pressed", String(!isOn()));
      lay();
    });
    opacity.addEventListener("change", lay);
  }

  // Another volume in place of the one that is shown, in the same window; what is laid over it comes down first.
  function replaceFirst(viewer, image) {
    const [before, ...above] = viewer.volumes;
    const mm = viewer.frac2mm(viewer.scene.crosshairPos, 0, true).slice(0, 3);
    for (const one of [...above].reverse()) viewer.removeVolume(one);
    viewer.removeVolume(before);
    [image.cal_min, image.cal_max] = [before.cal_min, before.cal_max];
    for (const one of [image, ...above]) viewer.addVolume(one);
    goTo(viewer, mm);
  }

  function connectVolumes(planes, ct, voxels) {
    const buttons = [...document.querySelectorAll("[data-volume]")], made = { ct }, unpackedOf = { ct: voxels };
    if (!buttons.length) return;
    choices(buttons, async (button) => {
      const name = button.dataset.volume;
      unpackedOf[name] = unpackedOf[name] || await unpacked(name);
      made[name] = made[name] || await imageOf(unpackedOf[name], name, "gray", ...Object.values(facts.presets)[0]);
      if (button.getAttribute("aria-pressed") !== "true") return;
      replaceFirst(planes, made[name]);
      solidOf.voxels = unpackedOf[name];
      if (solidOf.show) await solidOf.show();
      byId("shown").textContent = facts.shown[name];
      root.dataset.volume = name;
    });
  }

  function listen(planes) {
    const moves = {
      ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], PageUp: [0, 1, 0], PageDown: [0, -1, 0],
    };
    onKeys(byId("planes"), (key, far) => {
      if (moves[key]) planes.moveCrosshairInVox(...moves[key].map((step) => step * (far ? 10 : 1)));
      return Boolean(moves[key]);
    });
    const follow = () => {
      const place = /^#mm=(-?[\d.]+),(-?[\d.]+),(-?[\d.]+)$/.exec(window.location.hash);
      if (place) goTo(planes, place.slice(1).map(Number));
    };
    window.addEventListener("hashchange", follow);
    follow();
  }

  // What the solid shows; it is made once it is seen.
  const solidOf = { voxels: null, show: null, name: Object.keys(SOLIDS)[0] };

  function connectSolid(solid) {
    const solids = Object.keys(SOLIDS).map((name) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: name[0].toUpperCase() + name.slice(1) });
      button.dataset.solid = name;
      byId("solids").append(button);
      return button;
    });
    choices(solids, (button) => {
      const colours = SOLIDS[button.dataset.solid];
      solidOf.name = button.dataset.solid;
      solid.volumes[0].cal_min = colours.min;
      solid.volumes[0].cal_max = colours.max;
      solid.setColormap(solid.volumes[0].id, `xct-${button.dataset.solid}`);
    });
    const turns = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, 5], ArrowDown: [0, -5] };
    onKeys(byId("solid"), (key) => {
      const turn = turns[key];
      if (turn) solid.setRenderAzimuthElevation(solid.scene.renderAzimuth + turn[0], solid.scene.renderElevation + turn[1]);
      return Boolean(turn);
    });
  }

  async function showSolid() {
    const viewer = await attached(byId("solid"), { isOrientCube: true, sliceType: 4 }, markSolid);
    for (const [name, colours] of Object.entries(SOLIDS)) viewer.addColormap(`xct-${name}`, colours);
    solidOf.show = async () => {
      const { min, max } = SOLIDS[solidOf.name];
      const image = await imageOf(halved(solidOf.voxels), "solid", `xct-${solidOf.name}`, min, max);
      if (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
      viewer.addVolume(image);
    };
    await solidOf.show();
    viewer.setRenderAzimuthElevation(160, 12);
    viewer.setScale(1.15);
    connectSolid(viewer);
    viewer.start();
  }

  // The solid waits until it is seen: it costs as much as all the rest.
  function showSolidOnceSeen() {
    const watch = new IntersectionObserver((seen) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      showSolid().then(() => { root.dataset.solid = "ready"; }, (error) => { root.dataset.solid = `failed: ${error.message}`; });
    });
    watch.observe(byId("solid"));
  }

  try {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL2");
    const voxels = await unpacked("ct");
    solidOf.voxels = voxels;
    const ct = await imageOf(voxels, "ct", "gray", ...Object.values(facts.presets)[0]);
    const std = facts.volumes.std ? await imageOf(await unpacked("std"), "std", "inferno", ...facts.std_window) : null;
    byId("viewer").hidden = false;
    const planes = await showPlanes(ct, std);
    connectPlanes(planes);
    connectVolumes(planes, ct, voxels);
    if (std) {
      std.colormapType = 1;
      connectStd(planes, std);
    }
    byId("shown").textContent = facts.shown.ct;
    goTo(planes, planes.frac2mm([0.5, 0.5, 0.5], 0, true).slice(0, 3));
    listen(planes);
    planes.start();
    root.dataset.viewer = "ready";
    showSolidOnceSeen();
  } catch (error) {
    byId("viewer").hidden = true;
    byId("failed").hidden = false;
    byId("failed").textContent = `The viewer cannot run here (${error.message}); the pictures stand still.`;
    root.dataset.viewer = `failed: ${error.message}`;
  }
})();
