import { stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { useDocument } from '../components/hooks';
import { IconButton } from '../components/iconbutton';
import { PanelModel } from '../model';
import { t } from '../text';
import type { IClusterSummary, IDocuments, Topic } from '../types';

export interface IPaneProps {
  model: PanelModel;
  cluster: IClusterSummary;
  /** Height for long lists; undefined: as much as there is. */
  maxHeight?: number;
}

/** A document, or why there is none yet. */
export function Document<T extends Topic>(props: {
  model: PanelModel;
  topic: T;
  children: (document: IDocuments[T]) => React.ReactNode;
}): JSX.Element {
  const { model, topic } = props;
  const document = useDocument(model, topic);
  const trouble = model.trouble(topic);
  return (
    <>
      {trouble && (
        <p className="rj-Hint rj-mod-error" role="status">
          {t('This cannot be read at the moment: %1', trouble)}
        </p>
      )}
      {document ? (
        <div className={trouble ? 'rj-mod-stale' : undefined}>{props.children(document)}</div>
      ) : (
        !trouble && <p className="rj-Hint">{t('Reading…')}</p>
      )}
    </>
  );
}

/** Something that runs: its name and state in a line that can be folded, with buttons at its end. */
export function Entry(props: {
  /** By which tests find it. */
  mark: string;
  name: string;
  tooltip?: string;
  state: string;
  note: React.ReactNode;
  open: boolean;
  buttons?: React.ReactNode;
  children: React.ReactNode;
}): JSX.Element {
  return (
    <details className="rj-Run" open={props.open} data-rayjup={props.mark}>
      <summary className="rj-Run-head">
        <span className="rj-Run-name" title={props.tooltip ?? props.name}>
          {props.name}
        </span>
        <State state={props.state} />
        <span className="rj-Run-note">{props.note}</span>
        {props.buttons}
      </summary>
      {props.children}
    </details>
  );
}

/** The button that asks for an end. */
export function StopButton(props: { name: string; label: string; disabled: boolean; onClick: () => void }): JSX.Element {
  return <IconButton icon={stopIcon} {...props} />;
}

/** A dotted name, of which the last part is the last to be cut off. */
export function Name(props: { text: string }): JSX.Element {
  const at = props.text.lastIndexOf('.');
  return (
    <span className="rj-Name">
      {at > 0 && <span>{props.text.slice(0, at)}</span>}
      <span>{at > 0 ? props.text.slice(at) : props.text}</span>
    </span>
  );
}

export function Problem(props: { text: string | null }): JSX.Element | null {
  return props.text ? (
    <p className="rj-Hint rj-mod-error" role="alert">
      {props.text}
    </p>
  ) : null;
}

const TONES: { [state: string]: string } = {
  RUNNING: 'running',
  ALIVE: 'running',
  HEALTHY: 'running',
  SUCCEEDED: 'done',
  FINISHED: 'done',
  TERMINATED: 'done',
  ERROR: 'error',
  ERRORED: 'error',
  FAILED: 'error',
  UNHEALTHY: 'error',
  DEPLOY_FAILED: 'error',
  STOPPED: 'dead',
  INTERRUPTED: 'dead',
  PAUSED: 'busy'
};

/** A state with its colour, in words. */
export function State(props: { state: string }): JSX.Element {
  const tone = TONES[props.state.toUpperCase()] ?? 'busy';
  return (
    <span className="rj-State">
      <span className={`rj-Dot rj-mod-${tone}`} />
      {props.state.toLowerCase().replace(/_/g, ' ')}
    </span>
  );
}
