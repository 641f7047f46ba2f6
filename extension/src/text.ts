/** The texts of the panel, in the user's language once the translator is known. */

import type { TranslationBundle } from '@jupyterlab/translation';

let bundle: Pick<TranslationBundle, '__' | '_n'> = {
  __: (text: string, ...values: any[]) => filled(text, values),
  _n: (one: string, many: string, n: number, ...values: any[]) => filled(n === 1 ? one : many, [n, ...values])
};

/** Take texts from a translator from now on. */
export function speak(translations: Pick<TranslationBundle, '__' | '_n'>): void {
  bundle = translations;
}

/** A text, with `%1`, `%2` … filled in. */
export function t(text: string, ...values: (string | number)[]): string {
  return bundle.__(text, ...values);
}

/** A text with a number (`%1`), in its grammatical form. */
export function tn(one: string, many: string, n: number): string {
  return bundle._n(one, many, n);
}

function filled(text: string, values: any[]): string {
  return text.replace(/%(\d)/g, (whole, index) => String(values[Number(index) - 1] ?? whole));
}
