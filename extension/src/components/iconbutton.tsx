import { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

export function IconButton(props: {
  icon: LabIcon;
  label: string;
  name?: string;
  disabled?: boolean;
  onClick: () => void;
}): JSX.Element {
  const Icon = props.icon.react;
  return (
    <button
      className="rj-IconButton"
      data-rayjup={props.name}
      title={props.label}
      aria-label={props.label}
      disabled={props.disabled}
      onClick={event => {
        // The row beneath selects on click.
        event.stopPropagation();
        props.onClick();
      }}
    >
      <Icon tag="span" />
    </button>
  );
}
