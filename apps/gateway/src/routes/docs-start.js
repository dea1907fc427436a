// Runs in the browser. A file of its own, so that a content security policy may forbid inline scripts.

/**
 * Swagger UI asks for the sound of an answer once more, by GET, which no route of ours takes: its
 * player stayed silent. This one plays what came.
 */
const playReceivedSound = ({ React: { createElement, useEffect, useMemo } }) => {
  const Player = ({ content }) => {
    const url = useMemo(() => URL.createObjectURL(content), [content]);
    useEffect(() => () => URL.revokeObjectURL(url), [url]);
    const player = createElement('audio', { controls: true, src: url });
    const name = `speech.${content.type.replace(/^audio\//, '').replace('mpeg', 'mp3')}`;
    const link = createElement('a', { href: url, download: name }, `Download ${name}`);
    return createElement('div', null, player, createElement('br'), link);
  };
  const responseBody = (Original) => (props) => {
    const { content, contentType } = props;
    const isSound = content instanceof Blob && contentType.startsWith('audio/');
    return createElement(isSound ? Player : Original, props);
  };
  return { wrapComponents: { responseBody } };
};

globalThis.SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  plugins: [playReceivedSound],
});
