import { launcherIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { t } from '../text';
import { IconButton } from './iconbutton';

/** A part of the live view that can be folded; what is folded is not asked for. */
export function Section(props: {
  name: string;
  title: string;
  count: number | null;
  folded: boolean;
  onFold: (folded: boolean) => void;
  onOpen?: () => void;
  children: () => React.ReactNode;
}): JSX.Element {
  const { folded, name, title } = props;
  return (
    <section className="rj-Section" aria-label={title} data-rayjup={`section-${name}`}>
      <div className="rj-Section-head">
        <button
          className="rj-Section-title"
          aria-expanded={!folded}
          data-rayjup={`fold-${name}`}
          onClick={() => props.onFold(!folded)}
        >
          <span className={`rj-Section-mark${folded ? '' : ' rj-mod-open'}`} aria-hidden="true" />
          {title}
          {props.count !== null && <span className="rj-Section-count">{props.count}</span>}
        </button>
        {props.onOpen && (
          <IconButton
            icon={launcherIcon}
            name={`open-${name}`}
            label={t('Open %1 in a tab of its own', title)}
            onClick={props.onOpen}
          />
        )}
      </div>
      {!folded && props.children()}
    </section>
  );
}
