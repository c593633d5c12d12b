package com.cometmq.interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Sends and consumes while a drill breaks the cluster. internal/drill (Stock) says what it is given and prints: one JSON
 * object a line.
 */
final class Stockload {
    private Stockload() {
    }

    /** Arguments: NAMESRV TOPIC GROUP RUN SENDERS PAUSE_MS. Input: "stop" ends the sending, "quit" or the end all. */
    static int run(String[] argv) throws Exception {
        String topic = argv[1];
        String group = argv[2];
        String run = argv[3];
        int senders = Integer.parseInt(argv[4]);
        long pause = Long.parseLong(argv[5]);
        AtomicBoolean stop = new AtomicBoolean();

        DefaultMQPushConsumer consumer = consume(argv[0], topic, group, run);
        DefaultMQProducer producer = new DefaultMQProducer(group + "-p");
        producer.setNamesrvAddr(argv[0]);
        producer.start();
        say("ready", 0, 0, 0, 0, 0, null);
        Thread[] threads = new Thread[senders];
        for (int s = 0; s < senders; s++) {
            final int sender = s;
            threads[s] = new Thread(() -> send(producer, topic, run, sender, pause, stop));
            threads[s].start();
        }
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null && !line.equals("quit"); line = in.readLine()) {
            if (line.equals("stop")) {
                stop.set(true);
            }
        }
        stop.set(true);
        for (Thread t : threads) {
            t.join();
        }
        consumer.shutdown();
        producer.shutdown();
        return 0;
    }

    /** On a busy machine the first request of a cold virtual machine may take longer than the 3 s the client waits. */
    private static DefaultMQPushConsumer consume(String namesrv, String topic, String group, String run) throws Exception {
        for (int attempt = 1;; attempt++) {
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
            consumer.setNamesrvAddr(namesrv);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
                for (MessageExt m : msgs) {
                    String[] f = new String(m.getBody(), StandardCharsets.UTF_8).split(" ");
                    if (f.length > 4 && f[1].equals(run)) {
                        say("consumed", Integer.parseInt(f[2]), Long.parseLong(f[3]), 0, m.getQueueId(), m.getQueueOffset(), null);
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            try {
                consumer.start();
                return consumer;
            } catch (MQClientException e) {
                consumer.shutdown();
                if (attempt == 10) {
                    throw e;
                }
            }
        }
    }

    private static void send(DefaultMQProducer producer, String topic, String run, int sender, long pause, AtomicBoolean stop) {
        long seq = 0;
        for (; !stop.get(); seq++) {
            long began = System.currentTimeMillis();
            try {
                Thread.sleep(pause);
                SendResult r = producer.send(new Message(topic, body(run, sender, seq)));
                long took = System.currentTimeMillis() - began;
                if (r.getSendStatus() == SendStatus.SEND_OK) {
                    say("acked", sender, seq, took, r.getMessageQueue().getQueueId(), r.getQueueOffset(), null);
                } else {
                    say("failed", sender, seq, took, 0, 0, r.getSendStatus().toString());
                }
            } catch (Exception e) {
                say("failed", sender, seq, System.currentTimeMillis() - began, 0, 0, e.getClass().getSimpleName() + ": " + e.getMessage());
            }
        }
        say("sent", sender, seq, 0, 0, 0, null);
    }

    private static void say(String event, int sender, long seq, long took, int queue, long offset, String error) {
        String line = "{\"event\":\"" + event + "\",\"sender\":" + sender + ",\"seq\":" + seq + ",\"at\":" + System.currentTimeMillis()
            + ",\"took\":" + took + ",\"queue\":" + queue + ",\"offset\":" + offset
            + (error == null ? "" : ",\"error\":\"" + plain(error) + "\"") + "}";
        synchronized (System.out) {
            System.out.println(line);
        }
    }

    /** What needs no escape in JSON. */
    private static String plain(String s) {
        String oneLine = s.replaceAll("[^\\x20-\\x7e]", " ").replace('"', '\'').replace('\\', '/');
        return oneLine.substring(0, Math.min(oneLine.length(), 300));
    }

    /** Laid out as internal/drill (history.go) lays it out. */
    private static byte[] body(String run, int sender, long seq) {
        StringBuilder b = new StringBuilder("drill " + run + " " + sender + " " + seq + " ");
        while (b.length() < 120) {
            b.append('.');
        }
        CRC32 sum = new CRC32();
        sum.update(b.toString().getBytes(StandardCharsets.US_ASCII));
        return (b + String.format("%08x", sum.getValue())).getBytes(StandardCharsets.US_ASCII);
    }
}
