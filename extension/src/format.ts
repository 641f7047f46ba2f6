/** Numbers as people read them. Pure functions. */

import type { Resources } from './types';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];
const BYTE_RESOURCES = ['memory', 'object_store_memory'];

/** Bytes with at most three significant digits: `7.25 GB`; units are powers of 1024. */
export function bytes(value: number): string {
  let unit = 0;
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${significant(value, unit)} ${UNITS[unit]}`;
}

/** `used / total` with one unit: `0.5 / 15.6 GB`; an ellipsis for what has not been measured yet. */
export function bytesOf(used: number, total: number): string {
  if (total <= 0) {
    return '…';
  }
  let unit = 0;
  let scale = 1;
  while (total / scale >= 1023.5 && unit < UNITS.length - 1) {
    scale *= 1024;
    unit += 1;
  }
  const digits = unit === 0 || total / scale >= 100 ? 0 : 1;
  return `${(used / scale).toFixed(digits)} / ${(total / scale).toFixed(digits)} ${UNITS[unit]}`;
}

/** A count that stays narrow: `12345`, `123k`, `4.5M`. */
export function count(value: number): string {
  if (value < 100_000) {
    return String(Math.round(value));
  }
  return value < 1_000_000
    ? `${Math.round(value / 1000)}k`
    : `${(value / 1_000_000).toFixed(value < 10_000_000 ? 1 : 0)}M`;
}

/** A resource amount without a tail of float digits: `2`, `0.5`. */
export function amount(value: number): string {
  return String(Math.round(value * 1000) / 1000);
}

export function percent(value: number): string {
  return `${Math.round(value)} %`;
}

/** Seconds as `12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) {
    return `${s} s`;
  }
  const minutes = Math.floor(s / 60);
  if (minutes < 60) {
    return `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  if (hours < 24) {
    return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  }
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** What an error says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A share of a whole between 0 and 1; 0 when there is no whole. */
export function share(used: number, total: number): number {
  return total > 0 ? Math.min(1, Math.max(0, used / total)) : 0;
}

/** `1 CPU, 0.5 GPU`, memory in bytes; the internal per-node resources are left out. */
export function resources(of: Resources): string {
  const parts = Object.keys(of)
    .filter(name => !name.startsWith('node:') && of[name] > 0)
    .map(name =>
      BYTE_RESOURCES.includes(name)
        ? `${bytes(of[name])} ${name.replace(/_/g, ' ')}`
        : `${amount(of[name])} ${name}`
    );
  return parts.join(', ') || 'nothing';
}

function significant(value: number, unit: number): string {
  if (unit === 0 || value >= 99.5) {
    return value.toFixed(0);
  }
  return value >= 9.95 ? value.toFixed(1) : value.toFixed(2);
}

/** A measured number with four significant digits, short for very large and very small ones. */
export function number(value: unknown): string {
  if (typeof value !== 'number') {
    return value === null || value === undefined ? '–' : String(value);
  }
  if (!Number.isFinite(value)) {
    return String(value);
  }
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) {
    return value.toExponential(2);
  }
  return String(Number(value.toPrecision(4)));
}

/** Milliseconds as `0.42 ms`, `12 ms`, `1.3 s`. */
export function millis(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${Number(value.toPrecision(2))} ms`;
}

/** `lr=0.01, layers=2`. */
export function settings(of: { [name: string]: unknown }): string {
  return Object.entries(of)
    .map(([name, value]) => `${name}=${number(value)}`)
    .join(', ');
}
