/** Laying out calls in a timeline: one row per process, one rectangle per call. Pure functions. */

import type { ISpan } from './types';

export interface ILane {
  place: string;
  spans: ISpan[];
}

export interface IRange {
  start: number;
  end: number;
}

/** Calls by process, in the order of the processes' first calls. */
export function lanesOf(spans: ISpan[]): ILane[] {
  const lanes = new Map<string, ILane>();
  for (const span of spans) {
    const lane = lanes.get(span.place);
    if (lane) {
      lane.spans.push(span);
    } else {
      lanes.set(span.place, { place: span.place, spans: [span] });
    }
  }
  return [...lanes.values()];
}

/** What stands before the lanes: the process, and its host where there are several. */
export function labelsOf(lanes: ILane[]): string[] {
  const places = lanes.map(lane => lane.place.split(' · '));
  const several = new Set(places.map(([host]) => host)).size > 1;
  return places.map(([host, pid]) => (several || !pid ? [host, pid].filter(Boolean).join(' · ') : `pid ${pid}`));
}

/** What is to be seen: the last `seconds` before `now`, or everything. */
export function rangeOf(spans: ISpan[], now: number, seconds: number | null): IRange {
  const last = spans.reduce((latest, span) => Math.max(latest, span.end ?? now), 0);
  const end = last || now;
  const first = spans.length ? spans[0].start : end - 1;
  const start = seconds === null ? first : Math.max(first, end - seconds);
  return { start, end: Math.max(end, start + 1e-3) };
}

/**
 * Rectangles of a lane in pixels: `[x, width, span]`. Calls too short to be told apart become one, so
 * that ten thousand calls cost no more than the panel is wide.
 */
export function rectangles(
  lane: ILane,
  range: IRange,
  width: number,
  now: number
): { x: number; width: number; span: ISpan; count: number }[] {
  const scale = width / (range.end - range.start);
  const found: { x: number; width: number; span: ISpan; count: number }[] = [];
  for (const span of lane.spans) {
    const end = span.end ?? now;
    if (end < range.start || span.start > range.end) {
      continue;
    }
    const x = Math.max(0, (span.start - range.start) * scale);
    const wide = Math.max(1, Math.min(width, (end - range.start) * scale) - x);
    const last = found[found.length - 1];
    if (last && wide < 2 && x - (last.x + last.width) < 1 && last.span.name === span.name) {
      last.width = Math.max(last.width, x + wide - last.x);
      last.count += 1;
    } else {
      found.push({ x, width: wide, span, count: 1 });
    }
  }
  return found;
}

/**
 * Which of `n` colours names have: the busiest in view get one first, and a name keeps the one it has got;
 * null where there are more names than colours.
 */
export class Colours {
  constructor(private _n: number) {}

  /** Names in view, the busiest first. */
  see(lanes: ILane[], range: IRange, now: number): string[] {
    const busy = new Map<string, number>();
    for (const { spans } of lanes) {
      for (const { name, start, end } of spans) {
        const seconds = Math.min(end ?? now, range.end) - Math.max(start, range.start);
        if (seconds >= 0) {
          busy.set(name, (busy.get(name) ?? 0) + seconds);
        }
      }
    }
    const names = [...busy.keys()].sort((a, b) => busy.get(b)! - busy.get(a)!);
    for (const name of names) {
      if (this._known.size < this._n && !this._known.has(name)) {
        this._known.set(name, this._known.size);
      }
    }
    return names;
  }

  of(name: string): number | null {
    return this._known.get(name) ?? null;
  }

  private _known = new Map<string, number>();
}

/** Round times for the axis: `[seconds from the start, label]`. */
export function ticks(range: IRange, most = 5): [number, string][] {
  const span = range.end - range.start;
  const step = [1, 2, 5]
    .flatMap(factor => [-3, -2, -1, 0, 1, 2, 3, 4].map(power => factor * 10 ** power))
    .sort((a, b) => a - b)
    .find(one => span / one <= most);
  if (step === undefined) {
    return [];
  }
  const found: [number, string][] = [];
  for (let at = 0; at <= span; at += step) {
    found.push([at, step < 1 ? `${Math.round(at * 1000)} ms` : `${Math.round(at)} s`]);
  }
  return found;
}
