package com.cometmq.interop;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs many command lines of the unmodified mqadmin in one virtual machine, since each start of one costs seconds, beside
 * a live producer and a live consumer for them to look at, and after each the same one of our mqadmin.
 *
 * <p>Arguments: name server, topic, consumer group, file of command lines, output directory, our mqadmin. A line holds the
 * arguments, separated by tabs; ${clientId} is the consumer's. Those for our mqadmin follow a vertical tab if they are
 * others. What line n prints goes to the file n; what ours prints to n.ours, its errors to n.errors, and how it ends to
 * n.exit.
 */
final class Admin {
    private static final long PATIENCE_SECONDS = 60;

    private Admin() {
    }

    static int run(String[] argv) throws Exception {
        String namesrv = argv[0];
        String topic = argv[1];
        String group = argv[2];
        List<String> lines = Files.readAllLines(Paths.get(argv[3]), StandardCharsets.UTF_8);
        Path out = Paths.get(argv[4]);
        CountDownLatch seen = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            seen.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer producer = new DefaultMQProducer(group + "_producer");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        producer.send(new Message(topic, "tagA", "key1", "hello".getBytes(StandardCharsets.UTF_8)));
        if (!seen.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
            throw new IllegalStateException("the consumer got nothing");
        }
        consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
        producer.getDefaultMQProducerImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        for (int i = 0; i < lines.size(); i++) {
            String[] both = lines.get(i).replace("${clientId}", clientId).split("\u000b");
            Files.write(out.resolve(Integer.toString(i)), captured(both[0].split("\t")));
            ours(argv[5], both[both.length - 1].split("\t"), out, i);
        }
        consumer.shutdown();
        producer.shutdown();
        return 0;
    }

    /** Runs a command line of our mqadmin. */
    private static void ours(String program, String[] args, Path out, int n) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(program);
        command.addAll(Arrays.asList(args));
        int exit = new ProcessBuilder(command)
            .redirectOutput(out.resolve(n + ".ours").toFile())
            .redirectError(out.resolve(n + ".errors").toFile())
            .start().waitFor();
        Files.write(out.resolve(n + ".exit"), Integer.toString(exit).getBytes(StandardCharsets.UTF_8));
    }

    /** Runs one command line and returns what it printed, on either stream. */
    private static byte[] captured(String[] args) throws Exception {
        PrintStream stdout = System.out;
        PrintStream stderr = System.err;
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (PrintStream sink = new PrintStream(bytes, true, "UTF-8")) {
            System.setOut(sink);
            System.setErr(sink);
            MQAdminStartup.main0(args, null);
        } finally {
            System.setOut(stdout);
            System.setErr(stderr);
        }
        return bytes.toByteArray();
    }
}
