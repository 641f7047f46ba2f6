import * as React from 'react';

import { reasonOf } from '../format';
import { PanelModel } from '../model';
import type { IDocuments, Topic } from '../types';

/** Whether the view around a component can be seen; what cannot be seen is not kept up to date. */
export const Shown = React.createContext(true);

/** A document of the shown cluster, kept up to date while the component can be seen. */
export function useDocument<T extends Topic>(model: PanelModel, topic: T): IDocuments[T] | null {
  const shown = React.useContext(Shown);
  const cluster = model.selected?.cluster_id ?? null;
  React.useEffect(() => {
    if (cluster !== null && shown) {
      return model.use(topic, cluster);
    }
    return undefined;
  }, [model, topic, cluster, shown]);
  return model.document(topic);
}

/** The inner size of an element as it is now; zero until it has been measured. */
export function useSize(box: React.RefObject<HTMLElement>): { width: number; height: number } {
  const [size, setSize] = React.useState({ width: 0, height: 0 });
  React.useEffect(() => {
    const node = box.current;
    if (!node) {
      return undefined;
    }
    const observer = new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = node;
      setSize(old => (old.width === width && old.height === height ? old : { width, height }));
    });
    observer.observe(node);
    return () => observer.disconnect();
  }, [box]);
  return size;
}

/** Something that was asked of the server on a click: whether it is under way, and what went wrong. */
export function useAction(): {
  busy: boolean;
  error: string | null;
  run: (call: () => Promise<unknown>) => void;
} {
  const [busy, setBusy] = React.useState(false);
  const [error, setError] = React.useState<string | null>(null);
  const run = (call: () => Promise<unknown>): void => {
    setBusy(true);
    setError(null);
    call()
      .catch((reason: unknown) => setError(reasonOf(reason)))
      .finally(() => setBusy(false));
  };
  return { busy, error, run };
}
