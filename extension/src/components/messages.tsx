import { closeIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { rayjupIcon } from '../icons';
import { PanelModel } from '../model';
import { t } from '../text';
import { IconButton } from './iconbutton';

export function Loading(): JSX.Element {
  return <p className="rj-Hint">{t('Looking for clusters…')}</p>;
}

/** What a newcomer sees. */
export function Empty(props: { model: PanelModel }): JSX.Element {
  return (
    <div className="rj-Empty" data-rayjup="empty">
      <rayjupIcon.react tag="div" className="rj-Empty-logo" />
      <p className="rj-Empty-title">{t('No cluster is running')}</p>
      <p className="rj-Empty-text">
        {t(
          'Start one to spread your Python over all cores of this machine. It keeps running when a kernel restarts, and any notebook can join it.'
        )}
      </p>
      <button
        className="rj-Button rj-mod-primary"
        data-rayjup="start-first"
        disabled={props.model.busy}
        onClick={() => void props.model.start({})}
      >
        {t('Start a cluster')}
      </button>
    </div>
  );
}

/** Trouble with the connection, or with starting a cluster; nothing when all is well. */
export function Banner(props: { model: PanelModel }): JSX.Element | null {
  const { model } = props;
  const { startError, status } = model;
  return (
    <>
      {status.state === 'reconnecting' && (
        <div className="rj-Banner rj-mod-warn" role="status" data-rayjup="reconnecting">
          <span className="rj-Banner-text">
            {model.problem ?? t('The connection to the Jupyter server was lost.')} {t('Reconnecting…')}
          </span>
          <button className="rj-Button" onClick={() => model.retry()}>
            {t('Retry')}
          </button>
        </div>
      )}
      {startError && !(startError.field && model.optionsOpen) && (
        <div className="rj-Banner rj-mod-error" role="alert" data-rayjup="error">
          <span className="rj-Banner-text">{startError.message}</span>
          <IconButton icon={closeIcon} label={t('Dismiss')} onClick={() => model.dismissError()} />
        </div>
      )}
    </>
  );
}
