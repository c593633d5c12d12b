package com.cometmq.interop;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.Message;

/** Sends without pause while the harness does its damage, and writes down how each send ended. */
final class Steady {
    private Steady() {
    }

    /**
     * Arguments: NAMESRV TOPIC THREADS PAUSE_MS OUT STOP. It ends when the file STOP exists. Thread t sends bodies
     * "t-i"; the odd ones choose their queue by hash of "t". Each line of OUT is "begin end body result", with times in
     * ms of the epoch and "ok" or the exception's name as result.
     */
    static int run(String[] argv) throws Exception {
        String topic = argv[1];
        int threads = Integer.parseInt(argv[2]);
        long pause = Long.parseLong(argv[3]);
        DefaultMQProducer producer = new DefaultMQProducer("interop_steady_producer");
        producer.setNamesrvAddr(argv[0]);
        producer.start();
        Thread[] all = new Thread[threads];
        try (PrintWriter out = new PrintWriter(argv[4], "UTF-8")) {
            for (int t = 0; t < threads; t++) {
                final int id = t;
                all[t] = new Thread(() -> {
                    for (int i = 0; !Files.exists(Paths.get(argv[5])); i++) {
                        String body = id + "-" + i;
                        Message m = new Message(topic, body.getBytes(StandardCharsets.UTF_8));
                        long begin = System.currentTimeMillis();
                        String result = "ok";
                        try {
                            SendResult r = id % 2 == 0 ? producer.send(m)
                                : producer.send(m, new SelectMessageQueueByHash(), Integer.toString(id));
                            result = r.getSendStatus().toString().equals("SEND_OK") ? "ok" : r.getSendStatus().toString();
                        } catch (Exception e) {
                            result = e.getClass().getSimpleName();
                        }
                        synchronized (out) {
                            out.printf("%d %d %s %s%n", begin, System.currentTimeMillis(), body, result);
                            out.flush();
                        }
                        try {
                            Thread.sleep(pause);
                        } catch (InterruptedException e) {
                            return;
                        }
                    }
                });
                all[t].start();
            }
            for (Thread t : all) {
                t.join();
            }
        }
        producer.shutdown();
        return 0;
    }
}
