import { addIcon, caretDownIcon, caretUpIcon, stopIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from '../commandids';
import { PanelModel } from '../model';
import { t } from '../text';
import { IconButton } from './iconbutton';

/** Title, "Start" with its options, and "stop all". */
export function Header(props: { model: PanelModel; commands: CommandRegistry }): JSX.Element {
  const { model, commands } = props;
  const blocked = model.busy || !model.loaded;
  return (
    <div className="rj-Header">
      <h2 className="rj-Header-title">rayjup</h2>
      {model.clusters.length > 1 && (
        <IconButton
          icon={stopIcon}
          label={t('Stop all clusters')}
          onClick={() => void commands.execute(CommandIDs.stopAll)}
        />
      )}
      <div className="rj-Split" role="group" aria-label={t('Start a cluster')}>
        <button
          className="rj-Button rj-mod-primary"
          data-rayjup="start"
          disabled={blocked}
          title={t('Start a cluster on this machine')}
          onClick={() => void model.start({})}
        >
          <addIcon.react tag="span" className="rj-Button-icon" />
          {t('Start')}
        </button>
        <button
          className="rj-Button rj-mod-primary"
          data-rayjup="options"
          disabled={blocked}
          aria-expanded={model.optionsOpen}
          aria-label={t('Start with options')}
          title={t('Start with options…')}
          onClick={() => model.toggleOptions()}
        >
          {model.optionsOpen ? (
            <caretUpIcon.react tag="span" className="rj-Button-icon" />
          ) : (
            <caretDownIcon.react tag="span" className="rj-Button-icon" />
          )}
        </button>
      </div>
    </div>
  );
}
