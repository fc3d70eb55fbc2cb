/** The area between two lines of a chart, filled: a series primitive of the chart library. */

/** Distances between two values that are more than usual by this factor are gaps. */
const GAP = 1.5;

/** To be attached to a series on the price scale of both lines, with `series.attachPrimitive`. */
export class BandFill {
  /** @param {string} colour a translucent one, as canvases understand it */
  constructor(colour) {
    this.colour = colour;
    this.values = [];
    this.reach = 0;
    const renderer = { draw: (target) => target.useBitmapCoordinateSpace((scope) => this.paint(scope)) };
    this.views = [{ zOrder: () => "bottom", renderer: () => renderer }];
  }

  /**
   * The lines' values by position; null where there is none.
   * @param {(number | null)[]} upper
   * @param {(number | null)[]} lower
   */
  set(upper, lower) {
    this.values = [];
    upper.forEach((high, at) => {
      const low = lower[at];
      if (typeof high === "number" && typeof low === "number") this.values.push({ at, high, low });
    });
    const steps = this.values.slice(1).map((value, index) => value.at - this.values[index].at);
    this.reach = GAP * (steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0);
    this.host?.requestUpdate();
  }

  /** Called by the library. */
  attached(host) {
    this.host = host;
  }

  /** Called by the library. */
  detached() {
    this.host = null;
  }

  /** Called by the library. */
  paneViews() {
    return this.views;
  }

  /**
   * What is in view, in pixels of the page from the pane's top left corner, a list per piece without a gap.
   * @returns {{x: number, top: number, bottom: number}[][]}
   */
  pieces() {
    const time = this.host?.chart.timeScale();
    const range = time?.getVisibleLogicalRange();
    if (!range) return [];
    const found = [];
    let before = -Infinity;
    for (const { at, high, low } of this.values) {
      // One beyond each edge, so that the area reaches it.
      if (at < range.from - this.reach || at > range.to + this.reach) continue;
      const point = {
        x: time.logicalToCoordinate(at),
        top: this.host.series.priceToCoordinate(high),
        bottom: this.host.series.priceToCoordinate(low),
      };
      if (Object.values(point).includes(null)) continue;
      if (at - before > this.reach) found.push([]);
      found.at(-1).push(point);
      before = at;
    }
    return found;
  }

  paint({ context, horizontalPixelRatio: across, verticalPixelRatio: down }) {
    context.fillStyle = this.colour;
    for (const points of this.pieces()) {
      context.beginPath();
      for (const { x, top } of points) context.lineTo(x * across, top * down);
      for (const { x, bottom } of [...points].reverse()) context.lineTo(x * across, bottom * down);
      context.fill();
    }
  }
}
