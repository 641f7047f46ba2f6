/** Code with which a notebook joins a cluster. Pure functions. */

import type { IClusterSummary } from './types';

/** The name of our own kernelspec, in which the IPython extension is loaded already. */
export const RAYJUP_KERNEL = 'rayjup';

/**
 * How to call a cluster: by its name, which reads well and still holds when it is started anew;
 * by its id where two clusters carry the same name, or the name needs quoting.
 */
export function reference(cluster: IClusterSummary, all: IClusterSummary[]): string {
  const namesakes = all.filter(other => other.name === cluster.name);
  const plain = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(cluster.name);
  return plain && namesakes.length <= 1 ? cluster.name : cluster.cluster_id;
}

/** The cell to insert into a notebook whose kernel is `kernelName`. */
export function joinCell(ref: string, kernelName: string | null): string {
  const magic = `%ray_init --address ${ref}`;
  return kernelName === RAYJUP_KERNEL ? magic : `%load_ext rayjup\n${magic}`;
}

/** The same for a script, without magics. */
export function joinCode(ref: string): string {
  return `import rayjup as ray\n\nray.init(address=${JSON.stringify(ref)})\n`;
}
