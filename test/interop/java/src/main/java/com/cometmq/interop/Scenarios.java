package com.cometmq.interop;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;

/** What a default Java application does, one method a capability. Each prints "PASS name" or "FAIL name: why". */
final class Scenarios {
    private interface Scenario {
        void run(String namesrv, String topic) throws Exception;
    }

    private Scenarios() {
    }

    static int run(String[] argv) throws Exception {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("SyncAsyncOneway", Scenarios::syncAsyncOneway);
        all.put("Batch", Scenarios::batch);
        all.put("Properties", Scenarios::properties);
        all.put("TagFilter", Scenarios::tagFilter);
        all.put("Orderly", Scenarios::orderly);
        all.put("Broadcasting", Scenarios::broadcasting);
        all.put("RetryAndDeadLetter", Scenarios::retryAndDeadLetter);
        all.put("DelayLevel", Scenarios::delayLevel);
        all.put("DeliveryAtAnyTime", Timers::anyTime);
        all.put("LitePull", Scenarios::litePull);
        all.put("Offsets", Scenarios::offsets);
        all.put("TransactionCommitAndRollback", Transactions::commitAndRollback);
        all.put("TransactionCheckBack", Transactions::checkBack);
        all.put("RequestReply", Transactions::requestReply);
        all.put("ChosenQueue", Sending::chosenQueue);
        all.put("WaitStoreFlag", Sending::waitStoreFlag);
        all.put("QueryMessage", Sending::queryMessage);
        all.put("Namespaces", Sending::namespaces);
        all.put("UnitMode", Sending::unitMode);
        all.put("BodyAndPropertiesLimit", Sending::bodyLimit);
        all.put("MessageTrace", Sending::trace);
        all.put("PullConsumer", Consuming::pullConsumer);
        all.put("LitePullAssign", Consuming::litePullAssign);
        all.put("BatchConsumptionAndPartialAck", Consuming::partialAck);
        all.put("SuspendAndResume", Consuming::suspendAndResume);
        all.put("FlowControl", Consuming::flowControl);
        all.put("AllocationStrategies", Consuming::allocationStrategies);
        all.put("Rebalance", Consuming::rebalance);
        all.put("SeveralTopics", Consuming::severalTopics);
        all.put("OffsetsKept", Consuming::offsetsKept);
        all.put("SqlFilter", Consuming::sqlFilter);
        all.put("SubscriptionChange", Consuming::subscriptionChange);
        all.put("ImmediateDeadLetter", Consuming::immediateDeadLetter);
        all.put("OrderlyExclusive", Consuming::orderlyExclusive);
        Set<String> wanted = new HashSet<>(Arrays.asList(argv).subList(1, argv.length));
        warmUp(argv[0]);
        // Most of the time a scenario waits, so several run at once.
        ExecutorService pool = Executors.newFixedThreadPool(6);
        List<Future<Boolean>> results = new ArrayList<>();
        for (Map.Entry<String, Scenario> e : all.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(e.getKey())) {
                results.add(pool.submit(() -> passes(argv[0], e.getKey(), e.getValue())));
            }
        }
        boolean passed = true;
        for (Future<Boolean> r : results) {
            passed &= r.get();
        }
        pool.shutdown();
        return passed ? 0 : 1;
    }

    /** Loads the client's classes: on a busy machine that takes longer than the client waits for its first answer. */
    private static void warmUp(String namesrv) throws Exception {
        DefaultMQProducer p = producer(namesrv, "warm_up");
        for (int i = 0; ; i++) {
            try {
                p.fetchPublishMessageQueues("TBW102");
                break;
            } catch (MQClientException e) {
                if (i == 20) {
                    throw e;
                }
            }
        }
        p.shutdown();
    }

    /** Runs one scenario and prints one line about it, and what was thrown. */
    private static boolean passes(String namesrv, String name, Scenario scenario) {
        String topic = "java_" + name + "_" + Long.toString(System.nanoTime(), 36);
        long start = System.nanoTime();
        try {
            scenario.run(namesrv, topic);
            System.out.println("PASS " + name + " " + (System.nanoTime() - start) / 1_000_000 + "ms");
            return true;
        } catch (Throwable t) {
            StringWriter trace = new StringWriter();
            t.printStackTrace(new PrintWriter(trace));
            System.out.println("FAIL " + name + ": " + t + "\n" + trace);
            return false;
        }
    }

    static DefaultMQProducer producer(String namesrv, String group) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer(group);
        p.setNamesrvAddr(namesrv);
        p.setSendMsgTimeout(10000);
        p.setInstanceName(group);
        p.start();
        return p;
    }

    static DefaultMQPushConsumer consumer(String namesrv, String group, String instance) {
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
        c.setNamesrvAddr(namesrv);
        c.setInstanceName(instance);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return c;
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new IllegalStateException(what);
        }
    }

    static void await(CountDownLatch latch, int seconds, String what) throws InterruptedException {
        check(latch.await(seconds, TimeUnit.SECONDS), what + ": " + latch.getCount() + " missing after " + seconds + " s");
    }

    private static void syncAsyncOneway(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        Set<String> want = ConcurrentHashMap.newKeySet();
        for (int i = 0; i < 50; i++) {
            SendResult r = p.send(new Message(topic, Lines.utf8("sync" + i)));
            check(r.getSendStatus() == SendStatus.SEND_OK, "sync " + r);
            check(r.getOffsetMsgId().length() == 32, "offset message id " + r.getOffsetMsgId());
            want.add("sync" + i);
        }
        CountDownLatch done = new CountDownLatch(200);
        List<Throwable> errors = Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < 200; i++) {
            want.add("async" + i);
            p.send(new Message(topic, Lines.utf8("async" + i)), new SendCallback() {
                @Override
                public void onSuccess(SendResult r) {
                    done.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    errors.add(e);
                    done.countDown();
                }
            });
        }
        await(done, 20, "async callbacks");
        check(errors.isEmpty(), "async errors " + errors);
        for (int i = 0; i < 50; i++) {
            want.add("oneway" + i);
            p.sendOneway(new Message(topic, Lines.utf8("oneway" + i)));
        }
        Set<String> got = ConcurrentHashMap.newKeySet();
        CountDownLatch all = new CountDownLatch(want.size());
        DefaultMQPushConsumer c = consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            for (MessageExt m : msgs) {
                if (got.add(new String(m.getBody()))) {
                    all.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        await(all, 60, "messages");
        check(got.equals(want), "set differs");
        c.shutdown();
        p.shutdown();
    }

    private static void batch(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("first")));
        List<Message> msgs = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            msgs.add(new Message(topic, "T" + i, "K" + i, Lines.utf8("batch" + i)));
        }
        SendResult r = p.send(msgs);
        check(r.getSendStatus() == SendStatus.SEND_OK, "batch " + r);
        check(r.getOffsetMsgId().split(",").length == 20, "ids " + r.getOffsetMsgId());
        DefaultLitePullConsumer c = new DefaultLitePullConsumer("c_" + topic);
        c.setNamesrvAddr(namesrv);
        c.setAutoCommit(false);
        c.start();
        MessageQueue q = r.getMessageQueue();
        c.assign(Collections.singletonList(q));
        c.seek(q, r.getQueueOffset());
        List<MessageExt> got = new ArrayList<>();
        for (int i = 0; i < 20 && got.size() < 20; i++) {
            got.addAll(c.poll(1000));
        }
        check(got.size() == 20, "batch came as " + got.size());
        for (int i = 0; i < 20; i++) {
            MessageExt m = got.get(i);
            check(new String(m.getBody()).equals("batch" + i) && m.getQueueOffset() == r.getQueueOffset() + i
                && m.getTags().equals("T" + i) && m.getKeys().equals("K" + i), "item " + i + " is " + m);
        }
        c.shutdown();
        p.shutdown();
    }

    private static void properties(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        byte[] big = new byte[20000];
        Arrays.fill(big, (byte) 'x');
        Message m = new Message(topic, "Tag\u00e9\ud83d\ude00", "key1 key2", 42, big, true);
        m.putUserProperty("caf\u00e9", "\u6d88\u606f \ud83d\ude80 \"quoted\" \\ back");
        m.putUserProperty("n", "17");
        SendResult r = p.send(m);
        check(r.getSendStatus() == SendStatus.SEND_OK, "" + r);
        CountDownLatch one = new CountDownLatch(1);
        MessageExt[] got = new MessageExt[1];
        DefaultMQPushConsumer c = consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "Tag\u00e9\ud83d\ude00");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            got[0] = msgs.get(0);
            one.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        await(one, 60, "message");
        check(Arrays.equals(got[0].getBody(), big), "body differs");
        check("\u6d88\u606f \ud83d\ude80 \"quoted\" \\ back".equals(got[0].getUserProperty("caf\u00e9")), "property " + got[0].getProperties());
        check(got[0].getFlag() == 42 && "key1 key2".equals(got[0].getKeys()), "flag or keys " + got[0]);
        check(got[0].getMsgId().equals(r.getMsgId()), "message id " + got[0].getMsgId() + " sent as " + r.getMsgId());
        c.shutdown();
        p.shutdown();
    }

    private static void tagFilter(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        // "Aa" and "BB" have one hash: the broker may pass both, the listener must see only the wanted one.
        String[] tags = {"A", "B", "C", "Aa", "BB", null};
        Set<String> want = new HashSet<>();
        for (int i = 0; i < 60; i++) {
            String tag = tags[i % tags.length];
            Message m = new Message(topic, Lines.utf8("m" + i));
            if (tag != null) {
                m.setTags(tag);
            }
            p.send(m);
            if ("A".equals(tag) || "Aa".equals(tag)) {
                want.add("m" + i);
            }
        }
        Set<String> got = ConcurrentHashMap.newKeySet();
        CountDownLatch all = new CountDownLatch(want.size());
        DefaultMQPushConsumer c = consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "A || Aa");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            for (MessageExt m : msgs) {
                if (got.add(new String(m.getBody()))) {
                    all.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        await(all, 60, "tagged messages");
        check(got.equals(want), "got " + got);
        c.shutdown();
        p.shutdown();
    }

    private static void orderly(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        int keys = 8;
        int each = 40;
        for (int i = 0; i < each; i++) {
            for (int k = 0; k < keys; k++) {
                p.send(new Message(topic, Lines.utf8(k + ":" + i)), (mqs, msg, arg) -> mqs.get((Integer) arg % mqs.size()), k);
            }
        }
        Map<String, Integer> last = new ConcurrentHashMap<>();
        AtomicInteger inversions = new AtomicInteger();
        AtomicInteger suspended = new AtomicInteger();
        CountDownLatch all = new CountDownLatch(keys * each);
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (int n = 0; n < 2; n++) {
            DefaultMQPushConsumer c = consumer(namesrv, "c_" + topic, topic + n);
            c.subscribe(topic, "*");
            c.registerMessageListener((MessageListenerOrderly) (msgs, ctx) -> {
                for (MessageExt m : msgs) {
                    String[] kv = new String(m.getBody()).split(":");
                    int v = Integer.parseInt(kv[1]);
                    // Refuse one message once: the queue must wait for it.
                    if (kv[0].equals("3") && v == 7 && suspended.getAndIncrement() == 0) {
                        ctx.setSuspendCurrentQueueTimeMillis(100);
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                    Integer before = last.put(kv[0], v);
                    if (before != null && before >= v && !(before == v)) {
                        inversions.incrementAndGet();
                    }
                    if (before == null || v > before) {
                        all.countDown();
                    }
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            c.start();
            members.add(c);
        }
        await(all, 90, "ordered messages");
        check(inversions.get() == 0, inversions + " inversions");
        check(suspended.get() >= 2, "the suspended message did not come again");
        members.forEach(DefaultMQPushConsumer::shutdown);
        p.shutdown();
    }

    private static void broadcasting(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("create")));
        int members = 3;
        int n = 40;
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        CountDownLatch all = new CountDownLatch(members * n);
        for (int i = 0; i < members; i++) {
            Set<String> got = ConcurrentHashMap.newKeySet();
            DefaultMQPushConsumer c = consumer(namesrv, "c_" + topic, topic + i);
            c.setMessageModel(MessageModel.BROADCASTING);
            c.subscribe(topic, "*");
            c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
                for (MessageExt m : msgs) {
                    String body = new String(m.getBody());
                    if (!body.equals("create") && got.add(body)) {
                        all.countDown();
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            c.start();
            consumers.add(c);
        }
        for (int i = 0; i < n; i++) {
            p.send(new Message(topic, Lines.utf8("b" + i)));
        }
        await(all, 60, "broadcast deliveries");
        consumers.forEach(DefaultMQPushConsumer::shutdown);
        p.shutdown();
    }

    private static void retryAndDeadLetter(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        p.send(new Message(topic, "TagR", "keyR", Lines.utf8("poison")));
        String group = "c_" + topic;
        List<Integer> times = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch three = new CountDownLatch(3);
        DefaultMQPushConsumer c = consumer(namesrv, group, topic);
        c.setMaxReconsumeTimes(2);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            MessageExt m = msgs.get(0);
            check(m.getTopic().equals(topic), "topic seen is " + m.getTopic());
            times.add(m.getReconsumeTimes());
            three.countDown();
            ctx.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        c.start();
        await(three, 90, "deliveries");
        check(times.equals(Arrays.asList(0, 1, 2)), "reconsume times " + times);
        CountDownLatch dead = new CountDownLatch(1);
        MessageExt[] letter = new MessageExt[1];
        DefaultMQPushConsumer d = consumer(namesrv, "d_" + topic, topic + "d");
        d.subscribe("%DLQ%" + group, "*");
        d.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            letter[0] = msgs.get(0);
            dead.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        d.start();
        await(dead, 90, "dead letter");
        check(new String(letter[0].getBody()).equals("poison") && "keyR".equals(letter[0].getKeys()), "dead letter " + letter[0]);
        check(topic.equals(letter[0].getProperty("RETRY_TOPIC")), "RETRY_TOPIC " + letter[0].getProperties());
        d.shutdown();
        c.shutdown();
        p.shutdown();
    }

    private static void delayLevel(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("create")));
        CountDownLatch two = new CountDownLatch(2);
        Map<String, Long> at = new ConcurrentHashMap<>();
        DefaultMQPushConsumer c = consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            for (MessageExt m : msgs) {
                String body = new String(m.getBody());
                if (!body.equals("create") && at.put(body, System.currentTimeMillis()) == null) {
                    two.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        long start = System.currentTimeMillis();
        for (int level = 1; level <= 2; level++) {
            Message m = new Message(topic, Lines.utf8("level" + level));
            m.setDelayTimeLevel(level);
            p.send(m);
        }
        await(two, 60, "delayed messages");
        check(at.get("level1") - start >= 1000, "level 1 came after " + (at.get("level1") - start) + " ms");
        check(at.get("level2") - start >= 5000, "level 2 came after " + (at.get("level2") - start) + " ms");
        c.shutdown();
        p.shutdown();
    }

    private static void litePull(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        for (int i = 0; i < 100; i++) {
            p.send(new Message(topic, Lines.utf8("m" + i)));
        }
        DefaultLitePullConsumer c = new DefaultLitePullConsumer("c_" + topic);
        c.setNamesrvAddr(namesrv);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.subscribe(topic, "*");
        c.start();
        Set<String> got = new HashSet<>();
        for (int i = 0; i < 60 && got.size() < 100; i++) {
            for (MessageExt m : c.poll(1000)) {
                got.add(new String(m.getBody()));
            }
        }
        check(got.size() == 100, "polled " + got.size());
        c.commitSync();
        c.shutdown();
        p.shutdown();
    }

    private static void offsets(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = producer(namesrv, "g_" + topic);
        SendResult first = p.send(new Message(topic, Lines.utf8("m0")));
        MessageQueue q = first.getMessageQueue();
        for (int i = 1; i < 10; i++) {
            p.send(new Message(topic, Lines.utf8("m" + i)), q);
        }
        check(p.minOffset(q) == 0, "min " + p.minOffset(q));
        check(p.maxOffset(q) == 10, "max " + p.maxOffset(q));
        check(p.earliestMsgStoreTime(q) > 0, "earliest " + p.earliestMsgStoreTime(q));
        check(p.searchOffset(q, 0) == 0, "search 0 gives " + p.searchOffset(q, 0));
        check(p.searchOffset(q, System.currentTimeMillis() + 3600_000) == 9, "search beyond the newest gives the last");
        MessageExt byId = p.viewMessage(first.getOffsetMsgId());
        check(new String(byId.getBody()).equals("m0"), "view by id " + byId);
        p.shutdown();
    }
}
