package com.cometmq.interop;

import java.io.ByteArrayOutputStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Sends the lines of a file, newline included, and consumes them with two members of one group. */
final class Lines {
    private static final int QUEUES = 4;

    private Lines() {
    }

    /** Line i goes to queue i % 4; one thread a queue keeps the order within it. */
    static int produce(String[] argv) throws Exception {
        String namesrv = argv[0];
        String topic = argv[1];
        List<byte[]> lines = split(Files.readAllBytes(Paths.get(argv[2])));
        DefaultMQProducer producer = new DefaultMQProducer("interop_lines_producer");
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10000);
        producer.start();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Thread[] threads = new Thread[QUEUES];
        for (int q = 0; q < QUEUES; q++) {
            final int queue = q;
            threads[q] = new Thread(() -> {
                try {
                    for (int i = queue; i < lines.size(); i += QUEUES) {
                        Message m = new Message(topic, "line", "line" + i, lines.get(i));
                        SendResult r = producer.send(m, (mqs, msg, arg) -> mqs.stream()
                            .filter(x -> x.getQueueId() == (Integer) arg).findFirst().orElseThrow(), queue);
                        if (r.getSendStatus() != SendStatus.SEND_OK) {
                            throw new IllegalStateException("line " + i + ": " + r.getSendStatus());
                        }
                    }
                } catch (Throwable t) {
                    failure.compareAndSet(null, t);
                }
            });
            threads[q].start();
        }
        for (Thread t : threads) {
            t.join();
        }
        producer.shutdown();
        if (failure.get() != null) {
            failure.get().printStackTrace();
            return 1;
        }
        System.out.println("sent " + lines.size());
        return 0;
    }

    /** Writes "member queue offset base64" a message to OUT; ends when EXPECTED messages came or nothing came for 60 s. */
    static int consume(String[] argv) throws Exception {
        String namesrv = argv[0];
        String topic = argv[1];
        String group = argv[2];
        int expected = Integer.parseInt(argv[3]);
        CountDownLatch all = new CountDownLatch(expected);
        AtomicInteger seen = new AtomicInteger();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(Paths.get(argv[4])))) {
            for (int m = 0; m < 2; m++) {
                final int member = m;
                DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
                c.setNamesrvAddr(namesrv);
                c.setInstanceName("member" + m);
                c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
                c.setPullBatchSize(8);
                c.subscribe(topic, "*");
                c.registerMessageListener((MessageListenerOrderly) (msgs, ctx) -> {
                    for (MessageExt x : msgs) {
                        synchronized (out) {
                            out.println(member + " " + x.getQueueId() + " " + x.getQueueOffset() + " "
                                + Base64.getEncoder().encodeToString(x.getBody()));
                        }
                        seen.incrementAndGet();
                        all.countDown();
                    }
                    return ConsumeOrderlyStatus.SUCCESS;
                });
                c.start();
                members.add(c);
            }
            int before = -1;
            while (!all.await(60, TimeUnit.SECONDS)) {
                if (seen.get() == before) {
                    break;
                }
                before = seen.get();
            }
            // Shutdown commits the offsets of every owned queue.
            for (DefaultMQPushConsumer c : members) {
                c.shutdown();
            }
        }
        System.out.println("consumed " + seen.get());
        return all.getCount() == 0 ? 0 : 1;
    }

    /** The pieces of data after each newline, newline kept; a last piece without one is kept too. */
    static List<byte[]> split(byte[] data) {
        List<byte[]> lines = new ArrayList<>();
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (byte b : data) {
            line.write(b);
            if (b == '\n') {
                lines.add(line.toByteArray());
                line.reset();
            }
        }
        if (line.size() > 0) {
            lines.add(line.toByteArray());
        }
        return lines;
    }

    static byte[] utf8(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }
}
