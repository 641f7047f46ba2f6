/** A form made from the server's schema, and the body that comes of it. Pure functions. */

import type { IProfile, ISchema, IStartOptions } from './types';

export interface IChoice {
  value: string;
  label: string;
  /** Why it cannot be chosen. */
  problem: string | null;
}

export interface IField {
  name: string;
  title: string;
  description: string;
  hint: string;
  kind: 'text' | 'number' | 'bytes' | 'seconds' | 'resources';
  minimum?: number;
  choices?: IChoice[];
  /** Shown without asking for more. */
  main: boolean;
  /** Something has to be chosen. */
  required: boolean;
}

const MAIN = ['profile', 'name', 'num_cpus', 'num_gpus'];
const HINTS: { [name: string]: string } = {
  name: 'chosen for you',
  num_cpus: 'all',
  num_gpus: 'all',
  object_store_memory: 'as in 2 GB',
  resources: 'as in license=2, fpga=1',
  linger_s: 'as in 90, 30 min, 12 h'
};

/** The fields of a form, in the schema's order; the profile only where there are some, or has to be one. */
export function fieldsOf(
  schema: ISchema,
  profiles: { [name: string]: IProfile },
  withoutProfile: boolean
): IField[] {
  const choices = Object.entries(profiles).map(([value, { summary, problem }]) => ({
    value,
    label: summary ? `${value} – ${summary}` : value,
    problem
  }));
  return Object.entries(schema.properties ?? {})
    .filter(([name]) => name !== 'profile' || choices.length > 0 || !withoutProfile)
    .map(([name, part]) => ({
      name,
      title: part.title ?? name,
      description: part.description ?? '',
      hint: HINTS[name] ?? '',
      kind: kindOf(part),
      minimum: part.minimum,
      choices: name === 'profile' ? choices : undefined,
      main: MAIN.includes(name),
      required: name === 'profile' && !withoutProfile
    }));
}

function kindOf(part: ISchema): IField['kind'] {
  if (part.format === 'bytes' || part.format === 'seconds') {
    return part.format;
  }
  if (part.type === 'object') {
    return 'resources';
  }
  return part.type === 'number' || part.type === 'integer' ? 'number' : 'text';
}

/** What the user wrote, as the server wants to have it; or the field that cannot be understood. */
export function bodyOf(
  fields: IField[],
  values: { [name: string]: string }
): { body: IStartOptions } | { problem: { field: string; message: string } } {
  const body: IStartOptions = {};
  for (const field of fields) {
    const text = (values[field.name] ?? '').trim();
    if (!text) {
      continue;
    }
    const value = READERS[field.kind](text);
    if (value === null) {
      return { problem: { field: field.name, message: `${field.title}: write it ${field.hint}` } };
    }
    body[field.name] = value;
  }
  return { body };
}

const READERS: { [kind in IField['kind']]: (text: string) => unknown } = {
  text: text => text,
  number: text => (Number.isFinite(Number(text)) ? Number(text) : null),
  bytes: text => scaled(text, { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 }, /i?b?$/, Math.round),
  seconds: text => scaled(text, { '': 1, s: 1, m: 60, min: 60, h: 3600, d: 86400 }, /$/, value => value),
  resources: text => {
    const found: { [name: string]: number } = {};
    for (const part of text.split(',')) {
      const match = /^\s*([\w.-]+)\s*[=:]\s*([\d.]+)\s*$/.exec(part);
      if (!match || !Number.isFinite(Number(match[2]))) {
        return null;
      }
      found[match[1]] = Number(match[2]);
    }
    return found;
  }
};

function scaled(
  text: string,
  units: { [unit: string]: number },
  ending: RegExp,
  round: (value: number) => number
): number | null {
  const match = /^([\d.]+)\s*([a-z]*)$/i.exec(text);
  if (!match) {
    return null;
  }
  const unit = match[2].toLowerCase();
  const factor = units[unit] ?? units[unit.replace(ending, '')];
  const value = Number(match[1]) * factor;
  return Number.isFinite(value) ? round(value) : null;
}
