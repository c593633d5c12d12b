package dledger

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchdogNamesTheHangingOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, slow := &watch{limit: 10 * time.Second}, &watch{limit: 60 * time.Second}
		var fatal error
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			runWatchdog([]*watch{quick, slow}, stop, func(err error) { fatal = err })
		}()

		for range 5 { // many operations below the limit are fine
			quick.begin(func() string { return "writing a" })
			time.Sleep(9 * time.Second)
			quick.end()
		}
		slow.begin(func() string { return "saving b" })
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.NoError(t, fatal)
		slow.end()

		quick.begin(func() string { return "writing entries 7 to 9" })
		time.Sleep(12 * time.Second)
		<-done
		require.ErrorContains(t, fatal, "writing entries 7 to 9 has not returned")
		require.ErrorContains(t, fatal, "limit 10s")

		again := make(chan struct{})
		go func() {
			defer close(again)
			runWatchdog([]*watch{{limit: time.Second}}, stop, func(error) { t.Error("nothing hangs") })
		}()
		time.Sleep(time.Minute)
		close(stop)
		<-again
	})
}
