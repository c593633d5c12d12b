package com.cometmq.interop;

import java.util.Arrays;

/**
 * Command line of the interop checks: each sub-command drives the unmodified Java client and prints what it saw, one
 * record a line, so that the Go harness in test/e2e can judge it.
 */
public final class Main {
    private Main() {
    }

    public static void main(String[] argv) throws Exception {
        if (argv.length < 1) {
            usage();
        }
        String[] rest = Arrays.copyOfRange(argv, 1, argv.length);
        int status;
        switch (argv[0]) {
            case "produce":
                status = Lines.produce(rest);
                break;
            case "consume":
                status = Lines.consume(rest);
                break;
            case "steady":
                status = Steady.run(rest);
                break;
            case "stockload":
                status = Stockload.run(rest);
                break;
            case "scenarios":
                status = Scenarios.run(rest);
                break;
            case "admin":
                status = Admin.run(rest);
                break;
            case "latency":
                status = Sending.latency(rest);
                break;
            case "failover":
                status = Sending.failover(rest);
                break;
            default:
                usage();
                return;
        }
        // The client leaves non-daemon timers behind on some paths; the result is known, so leave.
        System.out.flush();
        System.exit(status);
    }

    private static void usage() {
        System.err.println("usage: produce NAMESRV TOPIC FILE | consume NAMESRV TOPIC GROUP EXPECTED OUT | scenarios NAMESRV [NAME...]"
            + " | steady NAMESRV TOPIC THREADS PAUSE_MS OUT STOP | stockload NAMESRV TOPIC GROUP RUN SENDERS PAUSE_MS | admin NAMESRV TOPIC GROUP COMMANDS OUT"
            + " | latency NAMESRV TOPIC | failover NAMESRV TOPIC");
        System.exit(2);
    }
}
