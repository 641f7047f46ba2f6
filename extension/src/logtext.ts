/** The text of a log that grows. Pure functions. */

import type { ILogPiece } from './types';

export interface ILog {
  text: string;
  /** Where the server is to go on; null before the first piece. */
  next: number | null;
  /** Whether there was more in front. */
  dropped: boolean;
}

const MOST = 4_000_000;

/** The log with one more piece; of very long ones the beginning is forgotten. */
export function follow(log: ILog, piece: ILogPiece): ILog {
  if (!piece.text && log.next !== null) {
    return log.next === piece.next ? log : { ...log, next: piece.next };
  }
  const text = log.text + piece.text;
  if (text.length <= MOST) {
    return { text, next: piece.next, dropped: log.dropped };
  }
  const cut = text.indexOf('\n', text.length - MOST) + 1;
  return { text: text.slice(cut), next: piece.next, dropped: true };
}

/** The lines that contain a text, whatever its case; `/…/` is a regular expression, if it is a good one. */
export function lines(text: string, filter: string): string[] {
  const all = text.split('\n');
  if (all[all.length - 1] === '') {
    all.pop();
  }
  if (!filter) {
    return all;
  }
  const pattern = /^\/(.+)\/$/.exec(filter);
  if (pattern) {
    try {
      const expression = new RegExp(pattern[1], 'i');
      return all.filter(line => expression.test(line));
    } catch {
      return [];
    }
  }
  const wanted = filter.toLowerCase();
  return all.filter(line => line.toLowerCase().includes(wanted));
}
