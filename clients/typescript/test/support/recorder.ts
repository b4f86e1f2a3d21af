/** A relay that notes which TLS records a client sends. */

import { type AddressInfo, type Socket, connect, createServer } from "node:net";

import { parseAddress } from "../../src/connection.js";

/** TLS record type of everything that is encrypted (RFC 8446 §5.1). */
const APPLICATION_DATA = 23;

export interface Recorder {
  readonly address: string;
  /** Lengths of the encrypted records of each connection, in order. The first holds the handshake's Finished. */
  readonly connections: readonly number[][];
  stop(): void;
}

export async function record(target: string): Promise<Recorder> {
  const connections: number[][] = [];
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const records: number[] = [];
    connections.push(records);
    const upstream = connect(parseAddress(target));
    sockets.push(client, upstream);
    let pending = Buffer.alloc(0);
    client.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 5 && pending.length >= 5 + pending.readUInt16BE(3)) {
        const length = pending.readUInt16BE(3);
        if (pending[0] === APPLICATION_DATA) records.push(length);
        pending = pending.subarray(5 + length);
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk: Buffer) => client.write(chunk));
    for (const [one, other] of [[client, upstream], [upstream, client]] as const) {
      one.on("error", () => other.destroy()).on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections,
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
