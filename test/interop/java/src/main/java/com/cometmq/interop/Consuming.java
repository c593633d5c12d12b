package com.cometmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.ResponseCode;
import org.apache.rocketmq.common.protocol.body.ProcessQueueInfo;

/** Consumers' capabilities; see Scenarios. */
final class Consuming {
    private Consuming() {
    }

    /** A started push consumer that puts the bodies it gets into a set. */
    private static DefaultMQPushConsumer into(Set<String> got, String namesrv, String group, String instance, String... topics) throws Exception {
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, group, instance);
        for (String topic : topics) {
            c.subscribe(topic, "*");
        }
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            msgs.forEach(m -> got.add(new String(m.getBody())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        return c;
    }

    private static void send(DefaultMQProducer p, String topic, String prefix, int n) throws Exception {
        for (int i = 0; i < n; i++) {
            p.send(new Message(topic, Lines.utf8(prefix + i)));
        }
    }

    private static void until(int seconds, String what, Callable<Boolean> done) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!done.call()) {
            Scenarios.check(System.nanoTime() < end, what + " after " + seconds + " s");
            Thread.sleep(20);
        }
    }

    @SuppressWarnings("deprecation")
    static void pullConsumer(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        MessageQueue q = p.send(new Message(topic, "T", Lines.utf8("m0"))).getMessageQueue();
        for (int i = 1; i < 10; i++) {
            p.send(new Message(topic, "T", Lines.utf8("m" + i)), q);
        }
        DefaultMQPullConsumer c = new DefaultMQPullConsumer("c_" + topic);
        c.setNamesrvAddr(namesrv);
        c.setInstanceName("c" + topic);
        c.start();
        PullResult r = c.pull(q, "*", 6, 32);
        Scenarios.check(r.getPullStatus() == PullStatus.FOUND && r.getMsgFoundList().size() == 4 && r.getNextBeginOffset() == 10
            && r.getMinOffset() == 0 && r.getMaxOffset() == 10, "" + r);
        r = c.pull(q, "*", 10, 32);
        Scenarios.check(r.getPullStatus() == PullStatus.NO_NEW_MSG && r.getNextBeginOffset() == 10, "" + r);
        r = c.pull(q, "nobody", 0, 32);
        Scenarios.check(r.getPullStatus() == PullStatus.NO_MATCHED_MSG && r.getNextBeginOffset() == 10, "" + r);
        r = c.pull(q, "*", 11, 32);
        Scenarios.check(r.getPullStatus() == PullStatus.OFFSET_ILLEGAL && r.getNextBeginOffset() == 10, "" + r);
        // The client learns from its first heartbeat that the broker knows SQL92, and sends none while another is under way.
        PullResult[] bySql = new PullResult[1];
        until(10, "the client does not know what the broker can", () -> {
            c.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
            try {
                bySql[0] = c.pull(q, MessageSelector.bySql("TAGS = 'T'"), 0, 3);
                return true;
            } catch (org.apache.rocketmq.client.exception.MQClientException e) {
                Scenarios.check(e.getMessage().contains("does not upgrade"), "" + e);
                return false;
            }
        });
        r = bySql[0];
        Scenarios.check(r.getPullStatus() == PullStatus.FOUND && r.getMsgFoundList().size() == 3, "" + r);
        c.updateConsumeOffset(q, 7);
        c.getDefaultMQPullConsumerImpl().persistConsumerOffset();
        c.getOffsetStore().updateConsumeOffsetToBroker(q, 7, false);
        Scenarios.check(c.fetchConsumeOffset(q, true) == 7, "committed " + c.fetchConsumeOffset(q, true));
        c.shutdown();
        p.shutdown();
    }

    /** Assign, seek, pause, committed offset, offset by time. */
    static void litePullAssign(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        MessageQueue q = p.send(new Message(topic, Lines.utf8("m0"))).getMessageQueue();
        for (int i = 1; i < 10; i++) {
            p.send(new Message(topic, Lines.utf8("m" + i)), q);
        }
        DefaultLitePullConsumer c = new DefaultLitePullConsumer("c_" + topic);
        c.setNamesrvAddr(namesrv);
        c.setInstanceName("c" + topic);
        c.setAutoCommit(false);
        c.start();
        c.assign(Collections.singletonList(q));
        for (int round = 0; round < 2; round++) {
            c.seekToBegin(q);
            List<String> got = new ArrayList<>();
            until(30, "polled only " + got, () -> {
                c.poll(500).forEach(m -> got.add(new String(m.getBody())));
                return got.size() >= 10;
            });
            Scenarios.check(got.equals(Arrays.asList("m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9")), "round " + round + " got " + got);
        }
        c.commitSync();
        until(10, "not committed", () -> c.committed(q) == 10);
        c.seek(q, 8);
        List<String> tail = new ArrayList<>();
        until(30, "polled only " + tail, () -> {
            c.poll(500).forEach(m -> tail.add(new String(m.getBody())));
            return tail.size() >= 2;
        });
        Scenarios.check(tail.equals(Arrays.asList("m8", "m9")), "" + tail);
        c.pause(Collections.singletonList(q));
        // This one answers the pull that is waiting, if the client had sent it before the pause.
        p.send(new Message(topic, Lines.utf8("held")), q);
        List<String> rest = new ArrayList<>();
        c.poll(1500).forEach(m -> rest.add(new String(m.getBody())));
        p.send(new Message(topic, Lines.utf8("late")), q);
        c.poll(1500).forEach(m -> rest.add(new String(m.getBody())));
        Scenarios.check(!rest.contains("late"), "polled while paused: " + rest);
        c.resume(Collections.singletonList(q));
        until(30, "after resume only " + rest, () -> {
            c.poll(500).forEach(m -> rest.add(new String(m.getBody())));
            return rest.contains("late");
        });
        Scenarios.check(rest.equals(Arrays.asList("held", "late")), "" + rest);
        Scenarios.check(c.offsetForTimestamp(q, 0L) == 0, "offset for timestamp 0: " + c.offsetForTimestamp(q, 0L));
        c.shutdown();
        p.shutdown();
    }

    /** Up to eight at a time; of the first batch only the tail behind the acknowledged index comes again. */
    static void partialAck(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        MessageQueue q = p.send(new Message(topic, Lines.utf8("m0"))).getMessageQueue();
        for (int i = 1; i < 8; i++) {
            p.send(new Message(topic, Lines.utf8("m" + i)), q);
        }
        AtomicInteger largest = new AtomicInteger();
        Map<String, Integer> again = new ConcurrentHashMap<>();
        AtomicInteger unacknowledged = new AtomicInteger(-1);
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, topic);
        c.setConsumeMessageBatchMaxSize(8);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            largest.accumulateAndGet(msgs.size(), Math::max);
            if (msgs.get(0).getReconsumeTimes() > 0) {
                msgs.forEach(m -> again.put(new String(m.getBody()), m.getReconsumeTimes()));
            } else if (unacknowledged.compareAndSet(-1, msgs.size() - 3)) {
                ctx.setDelayLevelWhenNextConsume(1);
                ctx.setAckIndex(2);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        until(60, "the tail did not come again: " + again, () -> unacknowledged.get() > 0 && again.size() >= unacknowledged.get());
        Scenarios.check(largest.get() <= 8 && largest.get() > 3, "largest batch " + largest);
        for (int i = 0; i < 3; i++) {
            Scenarios.check(!again.containsKey("m" + i), "m" + i + " was acknowledged and came again");
        }
        Scenarios.check(new HashSet<>(again.values()).equals(Collections.singleton(1)), "reconsume times " + again);
        c.shutdown();
        p.shutdown();
    }

    static void suspendAndResume(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        MessageQueue q = p.send(new Message(topic, Lines.utf8("first"))).getMessageQueue();
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer c = into(got, namesrv, "c_" + topic, topic, topic);
        until(60, "nothing came", () -> got.contains("first"));
        c.suspend();
        // This one answers the pull that is waiting, if the client had sent it before it was suspended.
        p.send(new Message(topic, Lines.utf8("held")), q);
        Thread.sleep(2000);
        p.send(new Message(topic, Lines.utf8("late")), q);
        Thread.sleep(2000);
        Scenarios.check(!got.contains("late"), "delivered while suspended");
        c.resume();
        until(60, "after resume only " + got, () -> got.containsAll(Arrays.asList("held", "late")));
        c.shutdown();
        p.shutdown();
    }

    /** A listener that hangs: the client stops fetching near its threshold. */
    static void flowControl(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        MessageQueue q = p.send(new Message(topic, Lines.utf8("m0"))).getMessageQueue();
        for (int i = 1; i < 200; i++) {
            p.send(new Message(topic, Lines.utf8("m" + i)), q);
        }
        CountDownLatch hang = new CountDownLatch(1);
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, topic);
        c.setPullThresholdForQueue(20);
        c.setPullBatchSize(10);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            try {
                hang.await();
            } catch (InterruptedException e) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            msgs.forEach(m -> got.add(new String(m.getBody())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        Callable<Integer> cached = () -> {
            ProcessQueueInfo info = c.getDefaultMQPushConsumerImpl().consumerRunningInfo().getMqTable().get(q);
            return info == null ? 0 : info.getCachedMsgCount();
        };
        until(60, "too little was fetched", () -> cached.call() >= 20);
        Thread.sleep(1000);
        Scenarios.check(cached.call() <= 30, cached.call() + " messages in memory");
        hang.countDown();
        until(60, "got " + got.size() + " of 200", () -> got.size() == 200);
        c.shutdown();
        p.shutdown();
    }

    private static Set<Integer> owned(DefaultMQPushConsumer c, String topic) {
        Set<Integer> ids = new TreeSet<>();
        for (MessageQueue q : c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (q.getTopic().equals(topic)) {
                ids.add(q.getQueueId());
            }
        }
        return ids;
    }

    /** Two members split four queues as their strategy says. */
    static void allocationStrategies(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("create")));
        List<AllocateMessageQueueStrategy> strategies = Arrays.asList(new AllocateMessageQueueAveragely(),
            new AllocateMessageQueueAveragelyByCircle(), new AllocateMessageQueueConsistentHash());
        List<List<Set<Integer>>> want = Arrays.asList(
            Arrays.asList(Set.of(0, 1), Set.of(2, 3)), Arrays.asList(Set.of(0, 2), Set.of(1, 3)), null);
        for (int i = 0; i < strategies.size(); i++) {
            List<DefaultMQPushConsumer> members = new ArrayList<>();
            for (String name : Arrays.asList("a", "b")) {
                DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c" + i + "_" + topic, name + i + topic);
                c.setAllocateMessageQueueStrategy(strategies.get(i));
                c.subscribe(topic, "*");
                c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
                c.start();
                members.add(c);
            }
            List<Set<Integer>> expected = want.get(i);
            until(40, strategies.get(i).getName() + " split", () -> {
                Set<Integer> first = owned(members.get(0), topic);
                Set<Integer> second = owned(members.get(1), topic);
                Set<Integer> all = new TreeSet<>(first);
                all.addAll(second);
                return all.size() == 4 && first.size() + second.size() == 4 && (expected == null || Arrays.asList(first, second).equals(expected));
            });
            members.forEach(DefaultMQPushConsumer::shutdown);
        }
        p.shutdown();
    }

    /** Who joins makes the others give queues up in under a second, and who leaves gives all of them back. */
    static void rebalance(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("create")));
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer a = into(got, namesrv, "c_" + topic, "a" + topic, topic);
        until(30, "one member owns " + owned(a, topic), () -> owned(a, topic).size() == 4);
        DefaultMQPushConsumer b = into(got, namesrv, "c_" + topic, "b" + topic, topic);
        long joined = System.nanoTime();
        until(30, "no queue was given up", () -> owned(a, topic).size() == 2);
        long took = (System.nanoTime() - joined) / 1_000_000;
        Scenarios.check(took < 1000, "the notice took " + took + " ms");
        until(30, "two members own " + owned(a, topic) + " and " + owned(b, topic), () -> owned(b, topic).size() == 2);
        b.shutdown();
        until(30, "the queues did not come back", () -> owned(a, topic).size() == 4);
        a.shutdown();
        p.shutdown();
    }

    static void severalTopics(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        send(p, topic + "x", "x", 5);
        send(p, topic + "y", "y", 3);
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer c = into(got, namesrv, "c_" + topic, topic, topic + "x", topic + "y");
        until(60, "got only " + got, () -> got.size() == 8);
        c.shutdown();
        p.shutdown();
    }

    /** A consumer that comes back goes on where it was, and a new group on a young topic begins at 0 whatever it asks for. */
    static void offsetsKept(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        send(p, topic, "old", 10);
        for (String round : Arrays.asList("first", "second")) {
            Set<String> got = ConcurrentHashMap.newKeySet();
            DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, round + topic);
            c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            c.subscribe(topic, "*");
            c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
                msgs.forEach(m -> got.add(new String(m.getBody())));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            c.start();
            if (round.equals("first")) {
                until(60, "got only " + got, () -> got.size() == 10);
            } else {
                send(p, topic, "new", 5);
                until(60, "got only " + got, () -> got.size() >= 5);
                Scenarios.check(got.stream().allMatch(b -> b.startsWith("new")), "came again: " + got);
            }
            c.shutdown();
        }
        p.shutdown();
    }

    /** SQL92 selects; a broken expression makes start() fail with 23. */
    static void sqlFilter(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        for (int i = 0; i < 20; i++) {
            Message m = new Message(topic, Lines.utf8("m" + i));
            m.putUserProperty("n", "" + i);
            if (i % 2 == 0) {
                m.putUserProperty("color", "red");
            }
            p.send(m);
        }
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, MessageSelector.bySql("n BETWEEN 5 AND 12 AND color IN ('red', 'blue') OR n > 17 AND color IS NULL"));
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            msgs.forEach(m -> got.add(new String(m.getBody())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        Set<String> want = Set.of("m6", "m8", "m10", "m12", "m19");
        until(60, "got only " + got, () -> got.containsAll(want));
        Scenarios.check(got.equals(want), "got " + got);
        c.shutdown();
        DefaultMQPushConsumer broken = Scenarios.consumer(namesrv, "b_" + topic, "b" + topic);
        broken.subscribe(topic, MessageSelector.bySql("n >"));
        broken.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        try {
            broken.start();
            Scenarios.check(false, "started with a broken expression");
        } catch (MQClientException e) {
            Scenarios.check(e.getResponseCode() == ResponseCode.SUBSCRIPTION_PARSE_FAILED, "" + e);
        }
        p.shutdown();
    }

    /** Other tags at run time: pulls after the change use them. */
    static void subscriptionChange(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        p.send(new Message(topic, "A", Lines.utf8("a1")));
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "A");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            msgs.forEach(m -> got.add(new String(m.getBody())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        until(60, "got " + got, () -> got.contains("a1"));
        c.subscribe(topic, "B");
        // The pulls under way still ask for A.
        AtomicBoolean b = new AtomicBoolean();
        for (int i = 0; i < 250 && !b.get(); i++) {
            p.send(new Message(topic, "B", Lines.utf8("b")));
            Thread.sleep(200);
            b.set(got.contains("b"));
        }
        Scenarios.check(b.get(), "the new tag does not come");
        c.shutdown();
        p.shutdown();
    }

    /**
     * While a second member of an ordered group comes and goes, no queue is worked at by both at one time, and none gets a
     * message before the one that lies in front of it. Repetitions are allowed.
     */
    static void orderlyExclusive(String namesrv, String topic) throws Exception {
        int queues = 4;
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        AtomicIntegerArray busy = new AtomicIntegerArray(queues);
        AtomicIntegerArray last = new AtomicIntegerArray(queues);
        AtomicInteger overlaps = new AtomicInteger();
        AtomicInteger gaps = new AtomicInteger();
        Map<String, AtomicIntegerArray> seen = new ConcurrentHashMap<>();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (String name : Arrays.asList("a", "b", "c")) {
            AtomicIntegerArray mine = new AtomicIntegerArray(queues);
            seen.put(name, mine);
            DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, name + topic);
            c.subscribe(topic, "*");
            c.registerMessageListener((MessageListenerOrderly) (msgs, ctx) -> {
                int q = msgs.get(0).getQueueId();
                if (busy.incrementAndGet(q) > 1) {
                    overlaps.incrementAndGet();
                }
                for (MessageExt m : msgs) {
                    int v = Integer.parseInt(new String(m.getBody()));
                    int highest = last.getAndAccumulate(q, v, Math::max);
                    if (v > highest + 1) {
                        gaps.incrementAndGet();
                    }
                    mine.incrementAndGet(q);
                }
                try {
                    Thread.sleep(2); // so that there is a time in which two could meet
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
                busy.decrementAndGet(q);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            members.add(c);
        }
        AtomicBoolean stop = new AtomicBoolean();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Thread sender = new Thread(() -> {
            try {
                for (int i = 1; !stop.get(); i++) {
                    for (int q = 0; q < queues; q++) {
                        p.send(new Message(topic, Lines.utf8(Integer.toString(i))), (mqs, m, arg) -> mqs.get((Integer) arg), q);
                    }
                    Thread.sleep(10);
                }
            } catch (Throwable t) {
                failure.set(t);
            }
        });
        sender.start();
        DefaultMQPushConsumer first = members.get(0);
        first.start();
        until(60, "the first member does not work", () -> total(seen.get("a")) > 20);
        for (int i = 1; i < members.size(); i++) {
            String name = Arrays.asList("a", "b", "c").get(i);
            members.get(i).start();
            until(90, "member " + name + " gets no queue", () -> total(seen.get(name)) > 20);
            members.get(i).shutdown();
            int[] before = new int[queues];
            for (int q = 0; q < queues; q++) {
                before[q] = seen.get("a").get(q);
            }
            until(90, "the first member does not get all queues back", () -> {
                for (int q = 0; q < queues; q++) {
                    if (seen.get("a").get(q) <= before[q]) {
                        return false;
                    }
                }
                return true;
            });
        }
        stop.set(true);
        sender.join();
        first.shutdown();
        p.shutdown();
        Scenarios.check(failure.get() == null, "sender: " + failure.get());
        Scenarios.check(overlaps.get() == 0, overlaps + " times two members worked at one queue");
        Scenarios.check(gaps.get() == 0, gaps + " messages came before the one in front of them");
    }

    private static int total(AtomicIntegerArray counts) {
        int sum = 0;
        for (int i = 0; i < counts.length(); i++) {
            sum += counts.get(i);
        }
        return sum;
    }

    /** Level -1: a dead letter at once. */
    static void immediateDeadLetter(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("hopeless")));
        AtomicInteger deliveries = new AtomicInteger();
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            deliveries.incrementAndGet();
            ctx.setDelayLevelWhenNextConsume(-1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        c.start();
        until(60, "not delivered", () -> deliveries.get() == 1);
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer d = into(got, namesrv, "d_" + topic, "d" + topic, "%DLQ%c_" + topic);
        until(60, "no dead letter", () -> got.contains("hopeless"));
        Scenarios.check(deliveries.get() == 1, deliveries + " deliveries");
        d.shutdown();
        c.shutdown();
        p.shutdown();
    }
}
